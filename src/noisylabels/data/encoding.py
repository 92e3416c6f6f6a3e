"""From columns of numbers and words to rows of floats, the same way for new rows as for those of training."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError, did_you_mean
from noisylabels.core.tables import is_missing, is_number, texts
from noisylabels.data.reader import MOST_NOTES
from noisylabels.data.sheets import Sheet

MOST_WORDS = 50
"""So many different words a column may have to become a column each; with more it is left out."""
_ALL_DIFFER = "all words differ"

STRAY = 0.1
"""Up to this share of cells that are no numbers, a column is one of numbers with mistakes in it."""

FEW_WORDS, TIMES_EACH = 20, 4
"""A column of at most so many words, each of them so often on average, is one of words in any case."""

COUNTED_FROM = 20
"""In a table of so many rows, a column that counts them is seen as such: it only tells their order."""

_DATE = re.compile(r"\d{4}-\d\d?-\d\d?([ T].*)?|\d{4}/\d\d?/\d\d?( .*)?|\d\d?[./-]\d\d?[./-]\d{2,4}( .*)?")
_TRUTH = {"true": 1.0, "false": 0.0}
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Column:
    """How a column is encoded.

    Args:
        name: its heading.
        kind: "number"; "truth", which is words true and false, as 1 and 0; "words", as a feature a word.
        median: what stands for a missing number, the median of the training part.
        words: sorted; others become zeros in all features of the column.
        marked: whether one more feature, 1 or 0, says that the cell is missing.
    """

    name: str
    kind: str
    median: float = 0.0
    words: tuple[str, ...] = ()
    marked: bool = False

    @property
    def features(self) -> tuple[str, ...]:
        """What the features of the column are called."""
        own = tuple(f"{self.name}={word}" for word in self.words) if self.kind == "words" else (self.name,)
        return (*own, f"{self.name} is missing") if self.marked else own


@dataclass(frozen=True)
class Encoder:
    """How the cells of a table become features; a plain value, kept in the file of a trained model.

    Args:
        columns: those that are encoded, in their order.
        ignored: other columns that a table may have: labels, ids, what was left out.
    """

    columns: tuple[Column, ...]
    ignored: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[str, ...]:
        """The D names of the features.

        >>> age, pet = Column("age", "number", 30.0, marked=True), Column("pet", "words", words=("cat",))
        >>> Encoder((age, pet)).features
        ('age', 'age is missing', 'pet=cat')
        """
        return tuple(name for column in self.columns for name in column.features)

    @classmethod
    def fit(cls, sheet: Sheet, rows: np.ndarray, not_features: Collection[str], notes: list[str]) -> Encoder:
        """Choose how the columns of a sheet are encoded, by the rows of the training part alone.

        Args:
            sheet: the table.
            rows: positions of the training rows, (n,).
            not_features: columns that are something else, such as the labels.
            notes: get a line on each kind of thing that a user should know.

        Raises:
            InputError: a column of numbers has a cell that is none, or no column is left.
        """
        columns: list[Column] = []
        left: dict[str, list[str]] = {}
        for name, why in sheet.unfit.items():
            if name not in not_features:
                left.setdefault(why, []).append(name)
        for name, cells in zip(sheet.names, sheet.columns, strict=True):
            if name in not_features:
                continue
            chosen = _choose(name, cells, rows, sheet)
            if isinstance(chosen, str):
                left.setdefault(chosen, []).append(name)
            else:
                columns.append(chosen)
        notes += [f"left out, {why}: {_listed(names)}" for why, names in left.items()]
        if _ALL_DIFFER in left and not any(name.lower() == "id" for name in not_features):
            first = left[_ALL_DIFFER][0]
            notes.append(f"if {first!r} names the rows, call the column id; they are row:0, row:1, ... now")
        if not columns:
            why = (
                "; ".join(f"{why}: {_listed(names)}" for why, names in left.items()) or "there are no others"
            )
            raise InputError(
                f"{sheet.source} has no column to learn from beside that of the labels ({why}); add columns "
                "of numbers or of few words"
            )
        if of_words := [f"{c.name!r} ({len(c.words)})" for c in columns if c.kind == "words"]:
            notes.append(f"a feature for each word of {_listed(of_words, quoted=True)}")
        counts = [(c.name, int(is_missing(sheet[c.name])[rows].sum())) for c in columns if c.marked]
        if marked := [f"{name!r} ({count})" for name, count in counts]:
            listed = _listed(marked, quoted=True)
            notes.append(
                f"missing cells are filled by the median and marked in a feature of their own: {listed}"
            )
        ignored = tuple(dict.fromkeys([*not_features, *(name for names in left.values() for name in names)]))
        return cls(tuple(columns), ignored)

    def encode(self, sheet: Sheet, notes: list[str] | None = None) -> np.ndarray:
        """Return the rows of a table as features, float32 (N, D).

        Args:
            sheet: a table with the same columns in any order; `ignored` ones may be there or not.
            notes: get a line on words that were not there in training, and on cells that are missing in
                columns where none was.

        Raises:
            InputError: a column is missing or unknown, or a cell is no number where numbers are expected.
        """
        self._check_columns(sheet)
        features: list[np.ndarray] = []
        unseen: list[str] = []
        filled: list[str] = []
        for column in self.columns:
            cells = sheet[column.name]
            missing = is_missing(cells)
            if column.kind == "words":
                words = texts(cells)
                features += [(words == word) & ~missing for word in column.words]
                strange = ~missing & ~np.isin(words, column.words)
                if strange.any():
                    first = str(words[strange.argmax()])
                    unseen.append(f"{column.name!r} ({int(strange.sum())}, such as {first[:40]!r})")
            else:
                values = _numbers(column, cells, missing, sheet)
                features.append(np.where(missing, column.median, values))
            if column.marked:
                features.append(missing)
            elif missing.any():
                filled.append(f"{column.name!r} ({int(missing.sum())})")
        if notes is not None and unseen:
            notes.append(
                f"words that the training part has not, taken for none: {_listed(unseen, quoted=True)}"
            )
        if notes is not None and filled:
            notes.append(f"missing where the training part misses nothing: {_listed(filled, quoted=True)}")
        return np.stack([feature.astype(np.float32) for feature in features], axis=1)

    def _check_columns(self, sheet: Sheet) -> None:
        known, there = {column.name for column in self.columns}, set(sheet.names)
        for column in self.columns:
            if column.name in sheet.unfit:
                raise InputError(
                    f"{sheet.source}: the column {column.name!r} is of {sheet.unfit[column.name]}, expected "
                    f"{'words' if column.kind == 'words' else 'numbers'} as in training"
                )
            if column.name not in there:
                hint = did_you_mean(column.name, [name for name in sheet.names if name not in known])
                raise InputError(
                    f"{sheet.source} lacks the column {column.name!r} of the training table{hint}"
                )
        known.update(self.ignored)
        strange = [name for name in (*sheet.names, *sheet.unfit) if name not in known]
        if strange:
            raise InputError(
                f"{sheet.source} has the column {strange[0]!r}, which the training table has not; remove it"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the encoder as what JSON can hold."""
        return {"columns": [dataclasses.asdict(c) for c in self.columns], "ignored": list(self.ignored)}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Encoder:
        """Return the encoder that `to_json` told; KeyError, TypeError or ValueError if it is none.

        >>> encoder = Encoder((Column("pet", "words", words=("cat", "dog")),), ("label",))
        >>> Encoder.of_json(encoder.to_json()) == encoder
        True
        """
        columns = []
        for told in value["columns"]:
            column = Column(
                **told | {"words": tuple(map(str, told["words"])), "median": float(told["median"])}
            )
            if column.kind not in ("number", "truth", "words"):
                raise ValueError(f"a column is of the kind {column.kind!r}")
            columns.append(column)
        return cls(tuple(columns), tuple(map(str, value["ignored"])))


def _choose(name: str, cells: np.ndarray, rows: np.ndarray, sheet: Sheet) -> Column | str:
    """Return how to encode a column, or why it is left out."""
    lacking = is_missing(cells)
    missing = lacking[rows]
    there, marked = cells[rows][~missing], bool(missing.any())
    if not len(there):
        return "empty"
    kind = "truth" if cells.dtype.kind == "b" else "number"
    if cells.dtype.kind == "O" and not all(map(is_number, there)):
        words = sorted(set(there))
        strange = {word for word in words if not is_number(word)}
        if {word.lower() for word in words} <= set(_TRUTH):
            kind = "truth"
        else:
            count = sum(word in strange for word in there)
            few = len(words) <= FEW_WORDS and len(words) * TIMES_EACH <= len(there)
            if few or count > STRAY * len(there):
                return _of_words(name, words, len(there), marked)
    column = Column(name, kind, marked=marked)
    values = _numbers(column, cells, lacking, sheet)
    known = values[rows][~missing]
    if not marked and bool((known == known[0]).all()):
        return "of one value"
    if len(cells) >= COUNTED_FROM and bool((np.diff(values) == 1).all()):
        return "the number of the row"
    return dataclasses.replace(column, median=float(np.median(known)))


def _of_words(name: str, words: Sequence[str], n: int, marked: bool) -> Column | str:
    if all(_DATE.fullmatch(word) for word in words):
        return "dates (days since one of them would be numbers)"
    if len(words) == 1 and not marked:
        return "of one value"
    if len(words) == n or len(words) > MOST_WORDS:
        if all(_is_pointed(word) for word in words):
            return "numbers with a comma, which should be a decimal point"
        return _ALL_DIFFER if len(words) == n else f"more than {MOST_WORDS} different words"
    return Column(name, "words", words=tuple(words), marked=marked)


def _numbers(column: Column, cells: np.ndarray, missing: np.ndarray, sheet: Sheet) -> np.ndarray:
    """Return the cells of a column of numbers, float64 (N,), NaN where one is missing."""
    if cells.dtype.kind != "O":
        values = cells.astype(np.float64)
    else:
        filled = np.where(missing, "nan", cells)
        if column.kind == "truth":
            filled = np.array([_TRUTH.get(word.lower(), word) for word in filled], dtype=object)
        try:
            values = filled.astype(np.float64)
        except ValueError:
            row = next(i for i, cell in enumerate(filled) if not is_number(cell))
            raise InputError(
                f"{sheet.where(row)}: {cells[row][:80]!r} in the column {column.name!r}, whose other cells "
                f"are {'true or false' if column.kind == 'truth' else 'numbers'}{_hint(cells[row])}"
            ) from None
    wrong = ~missing & ~(np.abs(values) <= _LARGEST)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"{sheet.where(row)}: {cells[row]!s} in the column {column.name!r}, expected a finite number of "
            f"at most {_LARGEST:.1e}; correct it or leave it empty"
        )
    return values


def _is_pointed(cell: str) -> bool:
    """Return whether a word is a number once its points are left out and its comma is a point."""
    return is_number(cell) or is_number(cell.replace(".", "").replace(",", "."))


def _hint(cell: str) -> str:
    if _is_pointed(cell):
        return "; write numbers with a decimal point and nothing between the thousands"
    return "; correct it or leave it empty"


def _listed(names: Sequence[str], quoted: bool = False) -> str:
    """Return the first names, and how many more there are."""
    some = ", ".join(name if quoted else repr(name) for name in names[:MOST_NOTES])
    return f"{some} and {len(names) - MOST_NOTES} more" if len(names) > MOST_NOTES else some
