"""Labels that people have checked by hand: which ones they are, and what they show about the models."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisylabels.audit.trusted_columns import column_of
from noisylabels.core.checks import InputError
from noisylabels.core.files import check_file, file_digest, read_text
from noisylabels.core.opening import TEXT_BYTES
from noisylabels.core.tables import TABLES, Table, find_column, read_table, read_text_table, texts
from noisylabels.core.wilson import wilson
from noisylabels.data.names import namesakes_note
from noisylabels.data.splits import split_of
from noisylabels.noise.checked_probs import CheckedProbs

if TYPE_CHECKING:
    from noisylabels.audit.posterior import LabelPosterior
    from noisylabels.data.features import Examples

SUFFIXES = (*TABLES, ".txt")
"""The suffixes of files of ids."""

YES = frozenset(("true", "1", "1.0", "yes", "y", "t", "x"))
NO = frozenset(("false", "0", "0.0", "no", "n", "f", "", "na", "nan", "none", "null", "<na>"))
"""The cells of a column that marks trusted labels, in lower case."""

MARKS = ("trusted", "checked", "verified", "reviewed", "confirmed", "correct")
"""The names of the column of a file of ids that marks which of them are trusted."""

_NUMBERED = re.compile(r"[^:]+:\d+")  # ids of examples of a part that has none
_COLUMN = "column "  # begins the source that is a column

EXPECTED = (
    "expected a part of the data (train, test, val), a column of the table, or a file of ids (.csv, .tsv, "
    ".txt or .parquet)"
)


@dataclass(frozen=True)
class Audited:
    """What is known of the audited set when its trusted labels are looked up.

    Args:
        asked: the settings of the audit, as in audit.json.
        examples: the set; None for labels alone.
        ids: N ids.
        labels: (N,) int64.
        class_names: K names.
        name: the name of the data.
    """

    asked: Mapping[str, Any]
    examples: Examples | None
    ids: Sequence[str]
    labels: np.ndarray
    class_names: tuple[str, ...]
    name: str


def identity(trusted: object) -> list[str]:
    """Return a description of the argument that differs if other labels may be trusted."""
    if isinstance(trusted, (str, os.PathLike)):
        file = _file(trusted)
        return [str(trusted)] if file is None else [str(file), file_digest(file, most_bytes=TEXT_BYTES)]
    values = _listed(trusted)
    if values.dtype.kind == "b":
        return ["mask", hashlib.sha256(values.tobytes()).hexdigest()]
    return ["ids", hashlib.sha256("\n".join(map(str, values.tolist())).encode()).hexdigest()]


def find_trusted(
    trusted: object, audited: Audited, note: Callable[[str], None] = lambda _: None
) -> tuple[np.ndarray, str]:
    """Return which labels are trusted, bool (N,), and where that is written, in words.

    Args:
        trusted: "train", "test" or "val", a part that the data have; the name of a column whose cells are
            true or false; a file of ids; a mask, bool (N,), for arrays; or a list of ids.
        audited: the audited set.
        note: receives lines on rows and examples that are left out.

    Raises:
        InputError: there is no such part, column, file or id, or no label is trusted, or all are.
    """
    if isinstance(trusted, (str, os.PathLike)):
        file = _file(trusted)
        if file is not None:
            mask, source = _mask(audited, _ids_in(file, audited, note)), f"file {file.name}"
        else:
            mask, source = _by_word(str(trusted), audited)
    else:
        mask, source = _of_values(_listed(trusted), audited)
    named = {name for name, one in zip(audited.ids, mask.tolist(), strict=True) if one}
    if (source == "ids" or source.startswith("file ")) and (
        line := namesakes_note(named, audited.ids)
    ) is not None:
        note(f"trusted: {line}, and are not trusted")
    if not mask.any():
        raise InputError(f"no label is trusted ({source}); name at least one example, or leave out --trusted")
    if mask.all():
        raise InputError(
            f"all {len(mask):,} labels are trusted ({source}), so none is left to audit; trust fewer"
        )
    return mask, source


def learnable(examples: Examples, source: str) -> Examples:
    """Return the examples without the column that marks trusted labels, which models must not learn from.

    Args:
        examples: the audited set.
        source: where it is written which labels are trusted, from `find_trusted`.
    """
    from noisylabels.data.features import FeatureSet, without_column

    if not source.startswith(_COLUMN) or not isinstance(examples, FeatureSet):
        return examples
    return without_column(examples, source.removeprefix(_COLUMN))


# Which labels ---------------------------------------------------------------------------------------------


def _file(trusted: object) -> Path | None:
    """Return the file of ids that a user named; None for another word."""
    path = Path(str(trusted)).expanduser()
    if path.suffix.lower() not in SUFFIXES and not isinstance(trusted, os.PathLike):
        return None
    check_file(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} is not a file of ids; expected .csv, .tsv, .txt or .parquet")
    return path


def _listed(trusted: object) -> np.ndarray:
    if hasattr(trusted, "detach"):
        trusted = trusted.detach().cpu().numpy()
    try:
        values = np.asarray(trusted)
    except ValueError:  # lists of different lengths
        values = np.empty((0, 0))
    if values.ndim != 1 or values.dtype.kind not in "bUOiu":
        if values.ndim == 1 and not len(values):
            return values.astype(str)
        raise InputError(
            f"trusted is {values.dtype} of shape {values.shape}, expected a mask, bool (N,), a list of ids, "
            "a part or a file"
        )
    return values.astype(bool) if all(isinstance(v, bool) for v in values.tolist()) else values


def _of_values(values: np.ndarray, audited: Audited) -> tuple[np.ndarray, str]:
    n = len(audited.ids)
    if values.dtype.kind == "b" and len(values):
        if audited.asked.get("data") is not None:
            raise InputError(
                f"trusted is a mask, which does not say which examples of {audited.name} it means; pass "
                "their ids, a part or a column"
            )
        if len(values) != n:
            raise InputError(f"trusted is a mask of {len(values):,} values for {n:,} labels; pass one each")
        return values, "mask"
    if values.dtype.kind in "iu" and len(values) == n and set(values.tolist()) <= {0, 1}:
        raise InputError(
            f"trusted holds {n:,} numbers 0 and 1; pass a mask as bool (trusted.astype(bool)), or ids as text"
        )
    words = [str(value) for value in values.tolist()]
    table = Table(Path("trusted"), ["id"], lambda _: np.array(words, object), lambda row: _place(row))
    return _mask(audited, _matched(table, words, audited)), "ids"


def _place(row: int) -> tuple[Path, str]:
    return Path("trusted"), f"id {row}"


def _ids_in(file: Path, audited: Audited, note: Callable[[str], None]) -> set[str]:
    """Return the ids in a file, as the audited set writes them."""
    from noisylabels.data.corrections import read_corrections, settled

    if file.suffix.lower() == ".txt":
        lines = [(k, line.strip()) for k, line in enumerate(read_text(file).splitlines(), 1) if line.strip()]
        words = [line for _, line in lines]
        table = Table(
            file, ["id"], lambda _: np.array(words, object), lambda row: (file, f"line {lines[row][0]}")
        )
        return _matched(table, words, audited)
    table = _open(file, audited)
    key = audited.asked.get("id_column")
    place = table.names.index(key) if key in table.names else find_column(table.names, "id", file)
    if place is None and len(table.names) > 1:
        raise InputError(
            f"{file} has no id column: its columns are {', '.join(table.names[:20])}; name one of them id"
        )
    words = list(texts(table.cells(place or 0)))
    unmarked = _unmarked(table, place or 0, words, note)
    if len(table.names) > 1 and find_column(table.names, "label", file) is not None:
        # a file of checked labels: they must be those of the data, or the wrong ones would be trusted
        found = read_corrections(file, audited.class_names, key)
        kept = {name: label for name, label in found.labels.items() if name not in unmarked}
        labels = settled(dataclasses.replace(found, labels=kept), audited.ids, _folder(audited))
        for name, given in zip(audited.ids, audited.labels.tolist(), strict=True):
            if (checked := labels.get(name, given)) != given:
                wanted = audited.class_names[checked] if checked >= 0 else "empty"
                raise InputError(
                    f"{file}: the label of {name!r} is {wanted}, and {audited.class_names[given]} in "
                    f"{audited.name}; audit the checked labels (--labels {shlex.quote(str(file))}), or "
                    "give a file of ids alone"
                )
        return set(labels)
    return _matched(table, words, audited) - (
        _matched(table, sorted(unmarked), audited) if unmarked else set()
    )


def _open(file: Path, audited: Audited) -> Table:
    """Return a file of ids as a table; the first line of a text file of one column may be an id too."""
    if file.suffix.lower() == ".parquet":
        return read_table(file)
    known = set(audited.ids)

    def is_heading(rows: Sequence[Sequence[str]]) -> bool:
        return len(rows[0]) > 1 or rows[0][0] not in known

    return read_text_table(file, is_heading=is_heading)


def _unmarked(table: Table, key: int, words: Sequence[str], note: Callable[[str], None]) -> set[str]:
    """Return the ids that a column of yes and no says not to trust.

    Raises:
        InputError: a column of yes and no has an unknown name, or one of marks holds something else.
    """
    marks = [k for k, name in enumerate(table.names) if name.strip().lower() in MARKS and k != key]
    for place in marks[:1] or range(len(table.names)):
        if place == key or isinstance(cells := table.read(place), str) or cells.ndim != 1:
            continue
        lower = [str(cell).strip().lower() for cell in texts(cells)]
        name = table.names[place]
        strange = [row for row, cell in enumerate(lower) if cell not in YES and cell not in NO]
        if place in marks:
            if strange:
                raise InputError(
                    f"{table.where(strange[0])}: {name!r} is {lower[strange[0]][:40]!r}, expected yes or no"
                )
            found = {word for word, cell in zip(words, lower, strict=True) if cell in NO}
            if found:
                note(f"{table.source}: {len(found):,} ids are not trusted, as the column {name!r} says")
            return found
        if not strange and any(cell in YES for cell in lower) and any(cell in NO for cell in lower):
            raise InputError(
                f"{table.source} has a column {name!r} of yes and no; name it {MARKS[0]} if it marks the ids "
                "to trust, or remove it to trust all of them"
            )
    return set()


def _matched(table: Table, words: Sequence[str], audited: Audited) -> set[str]:
    """Return the ids of the audited set that `words` name; a path may be written in other ways."""
    from noisylabels.data.corrections import Corrections, settled

    rows: dict[str, int] = {}
    for row, word in enumerate(words):
        rows.setdefault(word, row)
    return set(settled(Corrections(dict.fromkeys(rows, 0), rows, table), audited.ids, _folder(audited)))


def _folder(audited: Audited) -> Path | None:
    if (data := audited.asked.get("data")) is None:
        return None
    place = Path(data)
    return place if place.is_dir() else place.parent


def _mask(audited: Audited, ids: set[str]) -> np.ndarray:
    return np.fromiter((name in ids for name in audited.ids), bool, count=len(audited.ids))


def _by_word(word: str, audited: Audited) -> tuple[np.ndarray, str]:
    """Return the labels of a part, or those that a column marks."""
    part = split_of(word)
    if part is not None and (found := _of_part(part, audited)) is not None:
        return found, f"part {part}"
    cells = None
    try:
        cells = column_of(word, audited.asked, audited.examples, audited.ids)
    except InputError:  # there is no such column
        if part is None:
            raise
    if cells is None:
        if part is not None:
            raise InputError(
                f"{audited.name} has no {part} part of its own to trust (--trusted {word}); give a column, "
                "or a file of ids"
            )
        if audited.asked.get("data") is None and audited.examples is not None:
            raise InputError(
                f"trusted is {word!r}, but columns of data passed as an object are read only for tables of "
                "features; pass a mask, bool (N,), or ids"
            )
        raise InputError(f"trusted is {word!r}, but {audited.name} has no columns; {EXPECTED}")
    lower = [cell.strip().lower() for cell in cells]
    for name, cell in zip(audited.ids, lower, strict=True):
        if cell not in YES and cell not in NO:
            raise InputError(
                f"the column {word!r} holds {cell[:40]!r} at {name!r}, expected true or false per example"
            )
    return np.array([cell in YES for cell in lower]), f"{_COLUMN}{word}"


def _of_part(part: str, audited: Audited) -> np.ndarray | None:
    """Return which examples are of a part that the data have themselves; None if they have none."""
    from noisylabels.audit.audited_data import config_of
    from noisylabels.data.reader import was_held_out
    from noisylabels.experiment import load_sets

    if audited.asked.get("data") is None:
        return _of_part_in_memory(part, audited)
    # read again: the audited set does not say where its examples come from
    train, test = load_sets(config_of(audited.asked), need_features=False)
    if was_held_out(train.notes):
        return None
    if part == "train":
        return _mask(audited, set(train.ids))
    if audited.asked.get("part") == "train":
        raise InputError(
            f"the {part} part cannot be trusted, because it is not audited; leave out --part train"
        )
    own = _own_part(test, audited)
    return _mask(audited, set(test.ids)) if own in (None, part) else None


def _of_part_in_memory(part: str, audited: Audited) -> np.ndarray | None:
    """Return the same for data passed as objects: by a column of splits, or by ids such as "test:0"."""
    cells = column_of("split", audited.asked, audited.examples, audited.ids, any_name=True)
    if cells is None:
        cells = [name.partition(":")[0] if _NUMBERED.fullmatch(name) else "" for name in audited.ids]
    parts = np.array([split_of(cell) or "" for cell in cells])
    if "" in parts or not (parts != parts[0]).any():
        if _marks(part, audited):  # a column of that name
            return None
        raise InputError(
            f"the data of this audit do not say which examples are of a {part} part; pass a mask, bool (N,), "
            "or ids"
        )
    mask: np.ndarray = parts == part
    if not mask.any():
        listed = ", ".join(sorted(set(parts.tolist())))
        raise InputError(f"the audited data have the parts {listed}, but no {part} part; name one of them")
    return mask


def _marks(word: str, audited: Audited) -> bool:
    """Return whether the table has a column that is called exactly so."""
    cells = getattr(audited.examples, "cells", None)
    return cells is not None and word in cells.names


def _own_part(test: Examples, audited: Audited) -> str | None:
    """Return what the data call the part for testing, "test" or "val"; None if that is unknown."""
    first = str(test.ids[0])
    # a column of splits decides: the images of its test rows may lie in any folder
    if (cells := column_of("split", audited.asked, test, [first], any_name=True)) is not None:
        return split_of(cells[0])
    return split_of(re.split("[/:]", first)[0])


# What they show -------------------------------------------------------------------------------------------


def reasons(
    why: Sequence[str],
    trusted: np.ndarray,
    labels: np.ndarray,
    probs: LabelPosterior,
    class_names: Sequence[str],
) -> list[str]:
    """Return the reasons with those of trusted labels replaced."""
    from noisylabels.audit.reasons import percent

    made, rows = list(why), np.flatnonzero(trusted)
    for i, p in zip(rows.tolist(), probs.take(rows), strict=True):
        given, likeliest = int(labels[i]), int(p.argmax())
        if given == likeliest:
            made[i] = f"checked by hand; looks like {class_names[given]} ({percent(p[given])})"
        else:
            made[i] = (
                f"checked by hand as {class_names[given]} ({percent(p[given])}); looks like "
                f"{class_names[likeliest]} ({percent(p[likeliest])})"
            )
    return made


def summary_of(
    trusted: np.ndarray,
    source: str,
    labels: np.ndarray,
    probs: CheckedProbs,
    before: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the entry of audit.json: count, from, and agreement with its interval.

    The agreement is the share of trusted labels that are the most probable class out of fold: the accuracy of
    the models on labels that are known to be right. The interval is Wilson's, of 95 %. If the labels before
    they were checked are known, `before`, compared is their number and wrong how many of them were wrong.
    """
    rows = np.flatnonzero(trusted)
    right = int((probs.likeliest[rows] == labels[rows]).sum())
    low, high = wilson(right, len(rows))
    compared = np.zeros(0, np.int64) if before is None else rows[before[rows] >= 0]
    more = {}
    if before is not None and len(compared):
        more = {"compared": len(compared), "wrong": int((before[compared] != labels[compared]).sum())}
    return {
        "count": len(rows),
        "from": source,
        "agreement": round(right / len(rows), 6),
        "low": round(low, 6),
        "high": round(high, 6),
        "level": 0.95,
        **more,
    }
