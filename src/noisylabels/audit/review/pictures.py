"""Show an example: its image file if there is one, else the audited pixels, else its values.

Requests name an example by its position; the audit maps it to a file, so that no name or path ever comes from
a request. Files are decoded and re-encoded, so that the browser receives pixels and nothing else.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisylabels.audit.class_means import ClassMeans
from noisylabels.audit.page_rows import row_of
from noisylabels.core.checks import InputError
from noisylabels.core.process import usable_cpus

if TYPE_CHECKING:
    from PIL import Image

    from noisylabels.audit.result import Audit
    from noisylabels.data.cells import Cell, Cells

SIDES = {"large": 512, "tile": 160}
"""Longest sides in pixels; smaller images keep their size, and the page enlarges them."""

BESIDE = 6
"""Nearest neighbors per class shown beside an example."""

_CELL = 112  # pixels, side of a neighbor's image
_CACHE_BYTES = 64 << 20
_LOSSLESS = 128  # pixels: up to this side PNG, because enlarged JPEG artifacts would be visible
_COLUMNS = 24  # most columns of a row of values; more cannot be compared at a glance
_LONGEST = 100_000  # characters of a cell
_SHORT = 160  # characters of a neighbor's row
_BEGINNING = 100  # characters of a text in the list of examples


class NoPicture(InputError):  # noqa: N818  a state of the data rather than of the input
    """Raised if an example cannot be shown; the message gives the reason."""


class Pictures:
    """Images of an audit's examples, rendered on request and cached.

    Args:
        audit: the audit.
        folder: folder of the audit, from which the audited set is loaded if there are no image files.
        outside: also show files outside the data's folder, reached by links or paths such as ../1.jpg.
    """

    def __init__(self, audit: Audit, folder: Path, outside: bool = False) -> None:
        self._audit = audit
        self._folder = folder
        self._outside = outside
        self._base: Path | None = None
        if any(audit.paths) and audit.summary.get("data"):
            data = Path(audit.summary["data"])
            self._base = data if data.is_dir() else data.parent
        self._kept: OrderedDict[tuple[int, str], tuple[bytes, str]] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()
        self._making = threading.Semaphore(max(1, usable_cpus() - 1))  # one CPU stays free for decisions
        self._loading = threading.Lock()
        self._loaded: Any = None
        self._problem = ""
        self._means: ClassMeans | None = None  # of a table

    def prepare(self) -> None:
        """Load the audited set in the background if needed, so that the page need not wait for it."""
        if self._base is None:
            threading.Thread(target=self._examples, daemon=True).start()

    def problem(self) -> str:
        """Return why no example can be shown, or "" if they can; waits until the set is loaded."""
        return "" if self._base is not None or self._examples() is not None else self._problem

    def get(self, position: int, size: str) -> tuple[bytes, str]:
        """Return an example's image and its media type.

        Args:
            position: position of the example in the audited set.
            size: one of `SIDES`.

        Raises:
            NoPicture: the example has no image, it cannot be read, or it lies outside the data's folder.
        """
        return self._keeping((position, size), lambda: self._picture(position, SIDES[size]))

    def neighbors(self, position: int) -> tuple[bytes, str]:
        """Return one image of an example's nearest neighbors, and its media type.

        It has `BESIDE` columns and two rows: neighbors with the given label, and with the suggested label.
        One request per neighbor would take as long as the rest of a decision.
        """
        return self._keeping((position, "neighbors"), lambda: self._sheet(position))

    def _keeping(self, key: tuple[int, str], make: Callable[[], Image.Image]) -> tuple[bytes, str]:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with self._making:
            made = _encoded(make())
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._kept_bytes += len(made[0])
            while self._kept_bytes > _CACHE_BYTES and len(self._kept) > 1:
                self._kept_bytes -= len(self._kept.popitem(last=False)[1][0])
        return made

    def _sheet(self, position: int) -> Image.Image:
        from PIL import Image, ImageOps

        sheet = Image.new("RGB", (BESIDE * _CELL, 2 * _CELL), (128, 128, 128))
        for row, places in enumerate(self._audit.neighbors.get(position, ([], []))):
            for column, place in enumerate(places[:BESIDE]):
                with contextlib.suppress(NoPicture):  # the cell stays gray
                    picture = self._picture(place, SIDES["tile"])
                    cell = ImageOps.fit(picture, (_CELL, _CELL), Image.Resampling.BICUBIC)
                    sheet.paste(cell, (column * _CELL, row * _CELL))
        return sheet

    def values(self, position: int) -> list[tuple[str, float, float, float]] | None:
        """Return a table's row: column name, value, and the means of the given and of the suggested class.

        Of many columns, return those that separate the two classes best, see `ClassMeans`. Return None for an
        example with an image.
        """
        if self._base is not None:
            return None
        examples = self._examples()
        if examples is None or examples.inputs.ndim == 4:
            return None
        if not examples.inputs.shape[1]:  # a table of texts
            return []
        if self._means is None:
            self._means = ClassMeans(np.asarray(examples.inputs), self._audit.given)
        labels = (self._audit.given[position], self._audit.suggested[position])
        encoder = examples.encoder
        names = () if encoder is None else encoder.features
        offsets = np.zeros(examples.inputs.shape[1]) if encoder is None else encoder.offsets
        return [
            (str(names[c]) if names else f"x{c}", *(number + offsets[c] for number in numbers))
            for c, *numbers in self._means.beside(position, labels, _COLUMNS)
        ]

    def row(self, position: int) -> dict[str, Any] | None:
        """Return a table's row as it is written, see `row_of`; None for an example without one."""
        cells = self._cells()
        return None if cells is None else row_of(cells.row(position), _COLUMNS, _LONGEST)

    def rows_beside(self, position: int) -> list[list[str]] | None:
        """Return the nearest neighbors with the given and with the suggested label, each row as a short text.

        The text is the row's free text, or else its first columns. Return None for examples without rows.
        """
        cells = self._cells()
        if cells is None:
            return None
        beside = self._audit.neighbors.get(position, ([], []))
        return [[_short(cells.row(place)) for place in places[:BESIDE]] for places in beside]

    def beginnings(self) -> list[str] | None:
        """Return the beginning of each example's text, or its id if it has none; None without texts."""
        cells = self._cells()
        texts = None if cells is None else cells.free_texts()
        if texts is None:
            return None
        words = (" ".join(text[: 4 * _BEGINNING].replace("\x1f", " ").split())[:_BEGINNING] for text in texts)
        return [word or name for word, name in zip(words, self._audit.ids, strict=True)]

    def _cells(self) -> Cells | None:
        if self._base is not None:
            return None
        found: Cells | None = getattr(self._examples(), "cells", None)
        return found

    def _examples(self) -> Any:
        """Return the audited set, or None if it cannot be loaded; `_problem` then holds the reason."""
        with self._loading:
            if self._loaded is None and not self._problem:
                from noisylabels.audit.audited_data import load_examples

                try:
                    self._loaded = load_examples(self._folder)
                except (InputError, OSError) as error:
                    self._problem = str(error)
            return self._loaded

    def _picture(self, position: int, side: int) -> Image.Image:
        from noisylabels.data.image_decoding import failure_reason, whole

        if self._base is not None:
            file = self._file(position)
            try:
                return whole(file, side)
            except Exception as error:  # decoders raise anything for a damaged file
                raise NoPicture(f"the image cannot be read: {failure_reason(error, file)}") from None
        examples = self._examples()
        if examples is None:
            raise NoPicture(self._problem)
        from PIL import Image

        pixels = np.asarray(examples.inputs[position])
        if pixels.ndim != 3:
            raise NoPicture("the example is a row of values, which has no image")
        last = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
        picture = Image.fromarray(np.ascontiguousarray(last))
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        return picture

    def _file(self, position: int) -> Path:
        """Return the image file of an example; refuse one outside the data's folder."""
        name = self._audit.paths[position]
        if name is None or self._base is None:
            raise NoPicture("the example has no image file")
        base = os.path.realpath(self._base)
        file = Path(os.path.realpath(os.path.join(base, name)))
        if not self._outside and not file.is_relative_to(base):
            raise NoPicture(
                "the image lies outside the data's folder; start the review with --outside to show it"
            )
        if not file.is_file():  # not a device or a pipe either
            raise NoPicture("the image file no longer exists")
        return file


def _short(row: Sequence[Cell]) -> str:
    texts = [cell.content for cell in row if cell.free and cell.content]
    words = texts[0] if texts else ", ".join(f"{cell.column} {cell.content}" for cell in row[:6])
    return words if len(words) <= _SHORT else f"{words[: _SHORT - 1]}…"


def _encoded(picture: Image.Image) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    if max(picture.size) <= _LOSSLESS:
        picture.save(buffer, "PNG")
        return buffer.getvalue(), "image/png"
    picture.save(buffer, "JPEG", quality=88)
    return buffer.getvalue(), "image/jpeg"
