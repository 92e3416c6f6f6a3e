"""An audit as a value and as a folder: every example with its score, and what is known of the whole.

The folder, each file whole or not there, audit.json last (a folder without it is an audit under way):

=================== =====================================================================================
audit.json          an object: "format" 1, "version" (of this program), "name", "class_names" (K), "n" (N),
                    and the summary: "data" (a name of `noisylabels list data`, the absolute path of the data,
                    or null where they came as arrays), "data_root" (absolute, or null), "image_size",
                    "bad_images", "label_column" (if one was named), "part" ("all": training part, then test
                    part; "train"), "noise" (added to try the audit, else "none"), "seed", "labels" (absolute
                    path of the corrected labels that were audited, or null), "digest" (of the audited set, or
                    null), and the findings of `issues.summarize`: "rate", "transition", "pairs", "classes",
                    "duplicates", "flagged", ...
labels.parquet      a row an example, the most doubtful first: rank (from 1), index (position in the audited
                    set), id, path (of the image file, relative to the folder "data", or to the folder of the
                    file "data"; null where there is none), given, suggested (class names), score, flagged,
                    why; and true, where noise was added to known labels
labels.csv, .json   the same rows
probs.parquet       row i is example i of the audited set: a float32 column a class, in their order
neighbors.parquet  index, of_given, of_suggested: positions of up to 6 examples that look like `index` and
                    are labeled as it is given, and as is suggested; for the flagged and the most doubtful
page.html           the audit's page
=================== =====================================================================================
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisylabels import __version__
from noisylabels.core.checks import CorruptedFile, InputError
from noisylabels.core.delimited import CellWriter
from noisylabels.core.files import atomic_replace, read_json, write_json, write_text

if TYPE_CHECKING:
    import pyarrow as pa

    from noisylabels.data.features import Examples
    from noisylabels.experiment.reporter import Reporter

FORMAT = 1
FILES = (
    "labels.parquet",
    "labels.csv",
    "labels.json",
    "probs.parquet",
    "neighbors.parquet",
    "page.html",
    "audit.json",
)
"""What the folder of a finished audit holds, in the order in which it is written."""

Neighbors = dict[int, tuple[list[int], list[int]]]


@dataclass(frozen=True, eq=False, repr=False)
class Audit:
    """What an audit found.

    Args:
        name: of the data.
        class_names: K names.
        ids: N names of the examples.
        given: (N,) int64: the labels as they are.
        suggested: (N,) int64: what they should be; of a flagged example another class than the given one,
            else the likeliest, which may be the given one.
        score: (N,) float64 in [0, 1]: 0 the label is probably wrong, 1 probably right.
        flagged: (N,) bool: the most doubtful, as many as there are estimated to be wrong.
        probs: (N, K) float32: what the models say of each example, or the probabilities that were given.
        why: N clauses: what speaks against the label, or for it.
        summary: of the whole, as in audit.json.
        neighbors: position -> positions of examples that look like it, labeled as it is given, and as
            is suggested; for the flagged and the most doubtful.
        paths: N paths of image files, relative to the data's folder; None for an example without one.
        true: (N,) int64, where noise was added to known labels; -1 for a foreign image.
    """

    name: str
    class_names: tuple[str, ...]
    ids: Sequence[str]
    given: np.ndarray
    suggested: np.ndarray
    score: np.ndarray
    flagged: np.ndarray
    probs: np.ndarray
    why: Sequence[str]
    summary: dict[str, Any]
    neighbors: Neighbors = field(default_factory=dict)
    paths: Sequence[str | None] = ()
    true: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.given)

    def __repr__(self) -> str:
        rate = self.summary["rate"]["estimate"]
        return (
            f"Audit({self.name!r}: {int(self.flagged.sum())} of {len(self)} labels flagged, about "
            f"{100 * rate:.1f} % wrong, {len(self.class_names)} classes)"
        )

    @property
    def order(self) -> np.ndarray:
        """Positions from the most doubtful to the surest, (N,) int64; of equal scores the first one first."""
        return np.lexsort((np.arange(len(self)), self.score, ~self.flagged))

    def rows(self, count: int | None = None) -> Iterator[dict[str, Any]]:
        """Give the rows of labels.csv, the most doubtful first; `count` of them, or all."""
        names = self.class_names
        for rank, i in enumerate(self.order[:count].tolist(), 1):
            row = {
                "rank": rank,
                "index": i,
                "id": self.ids[i],
                "path": self.paths[i] if self.paths else None,
                "given": names[self.given[i]],
                "suggested": names[self.suggested[i]],
                "score": float(self.score[i]),
                "flagged": bool(self.flagged[i]),
                "why": self.why[i],
            }
            if self.true is not None:
                row["true"] = names[self.true[i]] if self.true[i] >= 0 else None
            yield row

    def save(self, folder: Path | str, page: str | None = None) -> Path:
        """Write the files into a folder, and return it; `page` is the text of its page.

        Raises:
            InputError: the folder cannot be written.
        """
        folder = Path(folder).expanduser()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            rows = [{name: _plain(value) for name, value in row.items()} for row in self.rows()]
            _write_table(folder / "labels.parquet", _labels_table(rows, self.true is not None))
            write_text(folder / "labels.csv", _comma_separated(rows))
            lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
            write_text(folder / "labels.json", f"[\n{lines}\n]\n")
            _write_table(folder / "probs.parquet", self._probs_table())
            _write_table(folder / "neighbors.parquet", self._neighbors_table())
            if page is not None:
                write_text(folder / "page.html", page)
            head = {"format": FORMAT, "version": __version__, "name": _plain(self.name)}
            head |= {"class_names": [_plain(name) for name in self.class_names], "n": len(self)}
            write_json(folder / "audit.json", head | self.summary)
        except (FileExistsError, NotADirectoryError):
            raise InputError(f"{folder} is a file, expected a folder for the audit; name another") from None
        except OSError as error:
            raise InputError(
                f"the audit's folder {folder} cannot be written: {error.strerror or error}"
            ) from None
        return folder

    @classmethod
    def load(cls, folder: Path | str) -> Audit:
        """Read an audit from its folder.

        Raises:
            InputError: the folder holds no finished audit, or one of a newer program.
            Damaged: a file of it is missing, damaged or of another audit.
        """
        folder = Path(folder).expanduser()
        head = read_head(folder)
        summary = {
            name: value
            for name, value in head.items()
            if name not in ("format", "version", "name", "class_names", "n")
        }
        names, n = tuple(head["class_names"]), head["n"]
        number = {name: k for k, name in enumerate(names)}
        try:
            rows = _read_table(folder / "labels.parquet")
            probs = _read_table(folder / "probs.parquet")
            old = folder / "neighbours.parquet"  # as it was spelled up to version 0.1
            beside = _read_table(old if old.exists() else folder / "neighbors.parquet")
            places = rows["index"].to_numpy()
            back = np.argsort(places)
            if not np.array_equal(places[back], np.arange(n)) or probs.shape != (n, len(names)):
                raise ValueError  # of another audit

            def numbers(column: str) -> np.ndarray:
                words = rows[column].to_pylist()
                return np.array([number[word] if word is not None else -1 for word in words], np.int64)[back]

            def texts(column: str) -> list[Any]:
                words = rows[column].to_pylist()
                return [words[k] for k in back.tolist()]

            return cls(
                name=head["name"],
                class_names=names,
                ids=texts("id"),
                given=numbers("given"),
                suggested=numbers("suggested"),
                score=rows["score"].to_numpy()[back],
                flagged=np.array(texts("flagged"), dtype=bool),
                probs=np.stack([column.to_numpy() for column in probs.columns], axis=1),
                why=texts("why"),
                summary=summary,
                neighbors={
                    index: (of_given, of_suggested)
                    for index, of_given, of_suggested in zip(
                        *(beside[name].to_pylist() for name in ("index", "of_given", "of_suggested")),
                        strict=True,
                    )
                },
                paths=texts("path"),
                true=numbers("true") if "true" in rows.column_names else None,
            )
        except InputError:
            raise
        except (KeyError, TypeError, ValueError):
            raise CorruptedFile(
                f"the files of {folder} are damaged or not of one audit; remove it and audit again"
            ) from None

    def _probs_table(self) -> pa.Table:
        import pyarrow as pa

        names = [_plain(name) for name in self.class_names]
        columns = [pa.array(np.ascontiguousarray(column, np.float32)) for column in self.probs.T]
        return pa.Table.from_arrays(columns, names=names)

    def _neighbors_table(self) -> pa.Table:
        import pyarrow as pa

        whole = pa.list_(pa.int64())
        return pa.table(
            {
                "index": pa.array(list(self.neighbors), pa.int64()),
                "of_given": pa.array([pair[0] for pair in self.neighbors.values()], whole),
                "of_suggested": pa.array([pair[1] for pair in self.neighbors.values()], whole),
            }
        )


def read_head(folder: Path) -> dict[str, Any]:
    """Return what audit.json of an audit's folder holds.

    Raises:
        InputError: there is no finished audit, or one of a newer program.
    """
    path = folder / "audit.json"
    if not path.is_file():
        what = (
            "is an audit that has not finished" if (folder / "settings.json").exists() else "holds no audit"
        )
        if not folder.exists():
            what = "is not there"
        raise InputError(f"{folder} {what}; make one with `noisylabels audit DATA --out {folder}`")
    head = read_json(path)
    if not isinstance(head, dict) or not {"format", "name", "class_names", "n", "rate"} <= head.keys():
        raise InputError(f"{path} is no summary of an audit; restore it, or remove {folder} and audit again")
    if head["format"] != FORMAT:
        raise InputError(
            f"{path} has the format {head['format']!r}, this program reads {FORMAT}; "
            "take the version of noisylabels that wrote it"
        )
    return head


def load_examples(audit: Mapping[str, Any] | Path | str, reporter: Reporter | None = None) -> Examples:
    """Return the set that was audited: its examples in their order, with the labels that were audited.

    Args:
        audit: the folder of an audit, its audit.json, or what that holds.
        reporter: told of the loading.

    Raises:
        InputError: the data came as arrays, are no longer there, or have changed since.
    """
    if isinstance(audit, (str, Path)):
        path = Path(audit).expanduser()
        head: Mapping[str, Any] = read_head(path if path.is_dir() else path.parent)
    else:
        head = audit
    if head.get("data") is None:
        raise InputError(
            f"the data of the audit {head['name']!r} came as arrays and are not kept in its folder; "
            "audit a folder, a table or a named data set to see them again"
        )
    examples, _ = audited_set(head, reporter)
    if examples.digest != head["digest"]:
        raise InputError(
            f"{head['data']} has changed since it was audited; run `noisylabels audit` again into another "
            "folder, or restore the data"
        )
    return examples


def audited_set(
    asked: Mapping[str, Any], reporter: Reporter | None = None
) -> tuple[Examples, np.ndarray | None]:
    """Return a set to audit, and its true labels where noise is added.

    Args:
        asked: data, data_root, image_size, bad_images, part, noise, seed, labels, as in audit.json.
        reporter: told of the loading.
    """
    from noisylabels.data.features import joined, with_labels
    from noisylabels.experiment import corrupt_set, load_config, load_sets

    names = (
        *("data", "data_root", "image_size", "bad_images", "label_column"),
        *("noise", "seed", "labels", "download"),
    )
    config = load_config(None, **{name: asked[name] for name in names if asked.get(name) is not None})
    train, test = load_sets(config, reporter)
    examples = joined(train, test) if asked["part"] == "all" else train
    if asked["noise"] == "none":
        return examples, None
    examples, labels = corrupt_set(
        examples,
        config.noise,
        seed=config.seed,
        data_root=config.data_root,
        bad_images=config.bad_images,
        download=config.download,
        reporter=reporter,
    )
    return with_labels(examples, labels.given), labels.true


def _plain(value: Any) -> Any:
    """Return text as UTF-8 can hold it: bytes of a file's name that are none are written as \\xff."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return value


def _labels_table(rows: Sequence[Mapping[str, Any]], true: bool) -> pa.Table:
    import pyarrow as pa

    kinds: dict[str, Callable[[], pa.DataType]] = {
        "rank": pa.int64,
        "index": pa.int64,
        "id": pa.string,
        "path": pa.string,
        "given": pa.string,
        "suggested": pa.string,
        "score": pa.float64,
        "flagged": pa.bool_,
        "why": pa.string,
    }
    kinds |= {"true": pa.string} if true else {}
    return pa.table({name: pa.array([row[name] for row in rows], kind()) for name, kind in kinds.items()})


def _comma_separated(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = CellWriter(text)
    writer.row(list(rows[0]))
    for row in rows:
        writer.row([str(cell).lower() if isinstance(cell, bool) else cell for cell in row.values()])
    return text.getvalue()


def _write_table(path: Path, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    with atomic_replace(path) as temporary:
        pq.write_table(table, temporary)


def _read_table(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:
            return pq.read_table(file)
    except (OSError, pa.ArrowException):
        raise CorruptedFile(f"{path} is missing or damaged; remove {path.parent} and audit again") from None
