"""The result of an audit as a value and as a folder: label quality per example, and a summary.

Files of the folder (each is written whole, audit.json last; a folder without it is an unfinished audit):

=================== =====================================================================================
audit.json          an object: "format" 2, "version" (of this program), "name", "class_names" (K), "n" (N),
                    and the summary: "data" (a name of `noisylabels list data`, the absolute path of the data,
                    or null if they were arrays), "data_root" (absolute, or null), "image_size",
                    "bad_images", "label_column", "id_column" (if they were named), "part" ("all"; "train"),
                    "noise" (added to test the audit, else "none"), "seed", "labels" (absolute path of the
                    corrected labels that were audited, or null), "left_out" (ids of the examples that they
                    leave out, if there are any), "digest" (of the audited set, or null),
                    "source_rows" (how many examples the data have in all, or null if they have no single
                    order), and the findings of `issues.summarize`: "rate", "transition", "pairs", "classes",
                    "duplicates", "flagged", ...; the "members" of duplicates are of the column index;
                    "trusted" (see `trusted.summary_of`, if labels checked by hand were named); "notes" (lines
                    on what is unusual in the data, such as rows and columns that were not used)
labels.parquet      one row per example, lowest label quality first: rank (from 1), index (the row of the file
                    from 0, or the place among the sorted paths; where "source_rows" is null, the position in
                    the audited set), id, path (of the image file, relative to the folder "data", or to the
                    folder of the file "data"; null if there is none), given, suggested (class names), score,
                    flagged, why; probability_wrong and probability_suggested, that the given label is wrong
                    and that the suggested one is the true one; trusted, if labels checked by hand were named,
                    and before, the label that a trusted example has in the data, if a file of corrected
                    labels was named too; and true, if noise was added to known labels
labels.csv, .json   the same rows
probs.parquet       one row per example in the order of index: id, index, and one column per class, in class
                    order: the probabilities out of fold, or those of the caller; a class called id or index
                    makes that key column id_ or index_
seen.parquet        the same columns: the probabilities during training, if models were trained
network.parquet     the same columns: those of the network alone, if several judges made probs.parquet
neighbors.parquet   index, of_given, of_suggested: index of up to 6 nearest neighbors of the example `index`
                    with its given and with its suggested label; for the flagged and those of lowest label
                    quality
page.html           the audit page
=================== =====================================================================================

Format 1 (version 0.1) differs: index is the position in "training part, then test part", or in the training
part; probs.parquet has no ids, and holds the two kinds of probabilities blended. It is still read.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from typing_extensions import TypedDict

from noisylabels import __version__
from noisylabels.audit import saved_probs
from noisylabels.audit.assessment import assess
from noisylabels.audit.documents import LABELS, NEIGHBORS, Head
from noisylabels.audit.fingerprints import Fingerprints
from noisylabels.audit.removal import to_remove
from noisylabels.core.checks import CorruptedFile, InputError
from noisylabels.core.columnar import read_columns, write_parquet, write_tables
from noisylabels.core.delimited import CellWriter
from noisylabels.core.files import atomic_replace, make_folder, read_json, write_json, write_text
from noisylabels.core.schema import checked, read_checked
from noisylabels.core.written_names import plain_name
from noisylabels.noise.noise_rate import NETWORK, NoiseRate

if TYPE_CHECKING:
    import pyarrow as pa


FORMAT = 2
FILES = (
    "labels.parquet",
    "labels.csv",
    "labels.json",
    "seen.parquet",
    "network.parquet",
    "probs.parquet",
    "neighbors.parquet",
    "page.html",
    "audit.json",
)
"""Files of a finished audit, in the order in which they are written; seen.parquet only if it trained,
network.parquet only if several judges made probs.parquet."""

Neighbors = dict[int, tuple[list[int], list[int]]]

_ROWS_AT_ONCE = 1 << 16  # rows of the files that are held in memory

SAME = 1e-4
"""Largest median difference between the saved probabilities that labels are wrong and those of `probs`, among
the labels that the models judge."""

RECOMPUTED = (
    "another version of noisylabels made this audit: probs follow today's estimate; scores, flags and "
    "reasons are those of the audit"
)


@dataclass(frozen=True, eq=False, repr=False)
class Audit:
    """The result of an audit.

    Args:
        name: name of the data.
        class_names: K names.
        ids: N names of the examples.
        given: (N,) int64: the given labels.
        suggested: (N,) int64: the suggested labels; for a flagged example a class other than the given one,
            otherwise the most probable class, which may be the given one.
        score: (N,) float64 in [0, 1]: label quality; 0 likely mislabeled, 1 likely correct.
        flagged: (N,) bool: whether likely mislabeled, see `issues.find_issues`.
        probs: (N, K) float32: the probability of each true class given the example and its label, see
            `posterior.LabelPosterior`; of a memory-mapped file of more than 67 million probabilities, the
            file as it is.
        why: N clauses: the reason for each score.
        summary: the summary, as in audit.json.
        neighbors: position -> nearest neighbors with the given and with the suggested label; for the flagged
            examples and those of lowest label quality.
        paths: N paths of image files, relative to the data's folder; None for an example without one.
        true: (N,) int64: true labels, if noise was added to known labels; -1 for a foreign image.
        index: (N,) int64, ascending: the row of each example in the file, from 0, or its place among the
            sorted paths; None for the positions in the audited set, where the data have no single order.
        out_of_fold: (N, K): the models' probabilities out of fold, or those that the caller supplied.
        seen: (N, K): the probabilities during training; None without training.
        network: (N, K): those of the network alone, if several judges made `out_of_fold`.
        fingerprints: of the examples, if their ids are only positions.
        trusted: (N,) bool: labels checked by hand, which are never flagged; None if none were named.
        before: (N,) int64: the labels of trusted examples in the data, which a file of corrected labels has
            replaced, -1 where that is unknown; None without such a file. See `assessment.assess`.
        rule: how the labels are scored, see `posterior.judged`.
        judges_blank: whether rows without text are judged: by probabilities or features of the caller's own,
            which may come from more than the table holds; None for an audit that does not say so.
        probability_wrong: (N,) float64: the probability that the given label is wrong, 1 - score; None in an
            older audit.
        probability_suggested: (N,) float64: the probability that the suggested label is the true one.
        recomputed: whether `probs` are of another estimate than scores and flags, as in the folder of an
            audit by another version: the folder holds what the models predicted, not `probs`.
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
    index: np.ndarray | None = None
    out_of_fold: np.ndarray | None = None
    seen: np.ndarray | None = None
    fingerprints: Fingerprints | None = None
    trusted: np.ndarray | None = None
    before: np.ndarray | None = None
    rule: str = NETWORK
    network: np.ndarray | None = None
    probability_wrong: np.ndarray | None = None
    probability_suggested: np.ndarray | None = None
    recomputed: bool = False
    judges_blank: bool | None = None

    def __len__(self) -> int:
        return len(self.given)

    def __repr__(self) -> str:
        rate, count = self.summary["rate"]["estimate"], len(self.notes)
        noted = f", {count} {'note' if count == 1 else 'notes'} in .notes" if count else ""
        return (
            f"Audit({self.name!r}: {int(self.flagged.sum())} of {len(self)} labels flagged, estimated noise "
            f"rate {100 * rate:.1f} %, {len(self.class_names)} classes{noted})"
        )

    @property
    def notes(self) -> list[str]:
        """Return the lines on what is unusual in the data; none in an audit of version 0.1."""
        return [*self.summary.get("notes", ()), *([RECOMPUTED] if self.recomputed else [])]

    @property
    def order(self) -> np.ndarray:
        """Return positions by label quality, flagged and lowest first, (N,) int64; ties by position."""
        return np.lexsort((np.arange(len(self)), self.score, ~self.flagged))

    def rows(self, count: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield the rows of labels.csv, lowest label quality first; all, or the first `count`."""
        names, index = self.class_names, self._index
        for rank, i in enumerate(self.order[:count].tolist(), 1):
            row = {
                "rank": rank,
                "index": int(index[i]),
                "id": self.ids[i],
                "path": self.paths[i] if self.paths else None,
                "given": names[self.given[i]],
                "suggested": names[self.suggested[i]],
                "score": float(self.score[i]),
                "flagged": bool(self.flagged[i]),
                "why": self.why[i],
            }
            if self.probability_wrong is not None and self.probability_suggested is not None:
                row["probability_wrong"] = round(float(self.probability_wrong[i]), 6)
                row["probability_suggested"] = round(float(self.probability_suggested[i]), 6)
            if self.trusted is not None:
                row["trusted"] = bool(self.trusted[i])
            if self.before is not None:
                row["before"] = names[self.before[i]] if self.before[i] >= 0 else None
            if self.true is not None:
                row["true"] = names[self.true[i]] if self.true[i] >= 0 else None
            yield row

    def save(self, folder: Path | str, page: str | None = None, escape_formulas: bool = False) -> Path:
        """Write the files into a folder and return it.

        Args:
            folder: the folder.
            page: the HTML of page.html.
            escape_formulas: see `write_csv`.

        Raises:
            InputError: the folder cannot be written.
        """
        folder = Path(folder).expanduser()
        try:
            make_folder(folder)
            write_tables(folder / "labels.parquet", map(_labels_table, self._row_groups()))
            self.write_csv(folder / "labels.csv", escape_formulas)
            with _text(folder / "labels.json") as file:
                file.write("[\n")
                for first, row in enumerate(row for rows in self._row_groups() for row in rows):
                    file.write((",\n" if first else "") + json.dumps(row, ensure_ascii=False))
                file.write("\n]\n")
            saved_probs.write_probs(
                folder,
                [_plain(name) for name in self.ids],
                self._index,
                [_plain(name) for name in self.class_names],
                self.probs if self.out_of_fold is None else self.out_of_fold,
                self.seen,
                self.fingerprints,
                self.rule,
                self.network,
                self.judges_blank,
            )
            write_parquet(folder / "neighbors.parquet", self._neighbors_table())
            if page is not None:
                write_text(folder / "page.html", page)
            head = {"format": FORMAT, "version": __version__, "name": _plain(self.name)}
            head |= {"class_names": [_plain(name) for name in self.class_names], "n": len(self)}
            write_json(folder / "audit.json", head | _with_members(self.summary, self._index.tolist()))
        except (FileExistsError, NotADirectoryError):
            raise InputError(f"{folder} is a file, expected a folder for the audit; choose another") from None
        except OSError as error:
            raise InputError(
                f"the audit's folder {folder} cannot be written: {error.strerror or error}"
            ) from None
        return folder

    def write_csv(self, path: Path, escape_formulas: bool = False) -> None:
        """Write the rows as CSV.

        Args:
            path: the file.
            escape_formulas: write cells so that a spreadsheet runs no formula, see
                `core.delimited.without_formula`; ids and class names may come from somebody else.

        Raises:
            OSError: the file cannot be written.
        """
        with _text(path) as file:
            writer = CellWriter(file, escape_formulas=escape_formulas)
            for rank, row in enumerate(row for rows in self._row_groups() for row in rows):
                if not rank:
                    writer.row(list(row))
                writer.row([str(cell).lower() if isinstance(cell, bool) else cell for cell in row.values()])

    def _row_groups(self) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows as the files hold them, some at a time: those of a million examples take a GB."""
        rows = ({name: _plain(value) for name, value in row.items()} for row in self.rows())
        while some := list(itertools.islice(rows, _ROWS_AT_ONCE)):
            yield some

    @classmethod
    def load(cls, folder: Path | str) -> Audit:
        """Read an audit from its folder.

        Raises:
            InputError: the folder holds no finished audit, or one of a newer version.
            CorruptedFile: a file of it is missing, damaged or of another audit.
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
        old, again = head["format"] == 1, f"{to_remove(folder)} and audit again"
        try:
            rows = read_columns(folder / "labels.parquet", LABELS, again, CorruptedFile)
            spelled = folder / "neighbours.parquet"  # up to version 0.1
            spelled = spelled if spelled.exists() else folder / "neighbors.parquet"
            neighbors = read_columns(spelled, NEIGHBORS, again, CorruptedFile)
            index = rows["index"].to_numpy()
            back = np.argsort(index)
            index = index[back]
            place = {row: position for position, row in enumerate(index.tolist())}
            summary = _with_members(summary, place)
            numbered = head.get("source_rows") is None  # by positions in the audited set
            if len(place) != n or (numbered and not np.array_equal(index, np.arange(n))):
                raise ValueError  # of another audit

            def numbers(column: str) -> np.ndarray:
                words = rows[column].to_pylist()
                return np.array([number[word] if word is not None else -1 for word in words], np.int64)[back]

            def shares(column: str) -> np.ndarray | None:
                return rows[column].to_numpy()[back] if column in rows.column_names else None

            def texts(column: str) -> list[Any]:
                words = rows[column].to_pylist()
                return [words[k] for k in back.tolist()]

            outside, seen, network = (None, None, None) if old else saved_probs.read_probs(folder, len(names))
            rule = NETWORK if old else saved_probs.rule_in(folder)
            trusted = np.array(texts("trusted"), dtype=bool) if "trusted" in rows.column_names else None
            before = numbers("before") if "before" in rows.column_names else None
            recomputed = False
            if outside is None:
                probs = saved_probs.values_of(folder / "probs.parquet", keys=0)
            else:
                known = np.zeros(n, bool) if trusted is None else trusted.copy()
                known[summary.get("not_judged", [])] = True
                rate = None
                if before is None and "compared" in summary.get("trusted", {}):  # an older folder lacks them
                    rate = NoiseRate(*(float(summary["rate"][end]) for end in ("estimate", "low", "high")))
                posterior = assess(
                    numbers("given"), outside, seen, rule, known, before, rate=rate, network=network
                ).posterior
                probs, wrong = posterior.kept(), shares("probability_wrong")
                if wrong is not None and not known.all():
                    # known labels have no probability of the models, and those of near-duplicates another
                    recomputed = np.median(abs(posterior.wrong - wrong)[~known]) > SAME
            if probs.shape != (n, len(names)):
                raise ValueError  # of another audit

            return cls(
                name=head["name"],
                class_names=names,
                ids=texts("id"),
                given=numbers("given"),
                suggested=numbers("suggested"),
                score=rows["score"].to_numpy()[back],
                flagged=np.array(texts("flagged"), dtype=bool),
                probs=probs,
                why=texts("why"),
                summary=summary,
                neighbors={
                    place[row]: ([place[r] for r in of_given], [place[r] for r in of_suggested])
                    for row, of_given, of_suggested in zip(
                        *(neighbors[name].to_pylist() for name in ("index", "of_given", "of_suggested")),
                        strict=True,
                    )
                },
                paths=texts("path"),
                true=numbers("true") if "true" in rows.column_names else None,
                index=None if numbered else index,
                out_of_fold=outside,
                seen=seen,
                network=network,
                fingerprints=None if old else saved_probs.fingerprints_in(folder),
                rule=rule,
                judges_blank=None if old else saved_probs.judges_blank_in(folder),
                probability_wrong=shares("probability_wrong"),
                probability_suggested=shares("probability_suggested"),
                trusted=trusted,
                before=before,
                recomputed=bool(recomputed),
            )
        except InputError:
            raise
        except (KeyError, TypeError, ValueError):
            raise CorruptedFile(
                f"the files in {folder} are damaged or from different audits; {to_remove(folder, 'it')} and "
                "audit again"
            ) from None

    @property
    def _index(self) -> np.ndarray:
        """The column index of the files, (N,) int64."""
        return np.arange(len(self)) if self.index is None else self.index

    def _neighbors_table(self) -> pa.Table:
        import pyarrow as pa

        whole, index = pa.list_(pa.int64()), self._index
        columns = {"index": pa.array(index[list(self.neighbors)], pa.int64())}
        for k, name in enumerate(("of_given", "of_suggested")):
            columns[name] = pa.array([index[pair[k]].tolist() for pair in self.neighbors.values()], whole)
        return pa.table(columns)


class _Format(TypedDict):
    format: int


def read_head(folder: Path) -> dict[str, Any]:
    """Return the content of an audit's audit.json.

    Raises:
        InputError: the folder holds no finished audit, or one of a newer version.
    """
    path = folder / "audit.json"
    if not path.is_file():
        what = "holds an unfinished audit" if (folder / "settings.json").exists() else "holds no audit"
        if not folder.exists():
            what = "does not exist"
        raise InputError(f"{folder} {what}; run `noisylabels audit DATA --out {shlex.quote(str(folder))}`")
    again = f"restore it, or {to_remove(folder)} and audit again"
    found = checked(read_json(path, again), _Format, path, again)["format"]
    if found not in (1, FORMAT):
        raise InputError(
            f"{path} has format {found!r}, this version reads 1 and {FORMAT}; "
            "use the version of noisylabels that wrote it"
        )
    head: dict[str, Any] = read_checked(path, Head, again)
    K = len(head["class_names"])
    if len(set(head["class_names"])) != K or len(head["classes"]) != K:
        raise InputError(f"{path} has {K} class names and {len(head['classes'])} classes; {again}")
    rate, transition = head["rate"], head["transition"]
    for part, names in ((rate, ("low", "high", "level")), (transition, ("low", "high"))):
        if len({part[name] is None for name in names}) > 1:
            raise InputError(f"{path}: an interval of the noise has one end, expected both; {again}")
    for name in ("matrix", "low", "high"):
        matrix = transition[name]
        if matrix is not None and {len(matrix), *map(len, matrix)} != {K}:
            raise InputError(f"{path}: transition.{name} is not of {K} by {K} numbers; {again}")
    return head


def _with_members(summary: dict[str, Any], names: Sequence[int] | Mapping[int, int]) -> dict[str, Any]:
    """Return a summary whose examples are named otherwise: by index, or by position."""
    made = dict(summary)
    if "not_judged" in made:
        made["not_judged"] = [names[i] for i in made["not_judged"]]
    found = made.get("duplicates")
    if found and found["conflicts"]:
        conflicts = [one | {"members": [names[i] for i in one["members"]]} for one in found["conflicts"]]
        made["duplicates"] = found | {"conflicts": conflicts}
    return made


def _plain(value: Any) -> Any:
    """Return text that UTF-8 can encode: invalid bytes of a file's name are written as \\xff."""
    if isinstance(value, str):
        return plain_name(value)
    return value


def _labels_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
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
        "probability_wrong": pa.float64,
        "probability_suggested": pa.float64,
        "trusted": pa.bool_,
        "before": pa.string,
        "true": pa.string,
    }
    there = {name: kind for name, kind in kinds.items() if name in rows[0]}
    return pa.table({name: pa.array([row[name] for row in rows], kind()) for name, kind in there.items()})


@contextlib.contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    """Yield a text file for writing, in UTF-8 and atomically."""
    with atomic_replace(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield file
