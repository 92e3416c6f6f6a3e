"""Encoding of table columns, numbers or words, as float features, the same for training rows and new rows."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired

import numpy as np
from typing_extensions import TypedDict

from noisylabels.core.checks import InputError, did_you_mean
from noisylabels.core.schema import checked
from noisylabels.core.tables import is_missing, is_number, texts
from noisylabels.data.precision import loses_differences
from noisylabels.data.reader import MOST_NOTES
from noisylabels.data.sheets import Sheet
from noisylabels.data.text_columns import is_free_text, joined_texts, named_text_columns, text_notes

MOST_WORDS = 50
"""The most different words of a one-hot encoded column; a column with more is left out."""
_ALL_DIFFER, _MANY_WORDS = "all words differ", f"more than {MOST_WORDS} different words"

STRAY = 0.1
"""Up to this share of cells that are not numbers, a column counts as one of numbers with errors."""

FEW_WORDS, TIMES_EACH = 20, 4
"""A column with at most `FEW_WORDS` different words, each `TIMES_EACH` times on average, holds words
even if most of them are numbers."""

COUNTED_FROM = 20
"""From this number of rows on, a column that counts the rows is left out: it only holds their order."""

_DATE = re.compile(r"\d{4}-\d\d?-\d\d?([ T].*)?|\d{4}/\d\d?/\d\d?( .*)?|\d\d?[./-]\d\d?[./-]\d{2,4}( .*)?")
_TRUTH = {"true": 1.0, "false": 0.0}
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Column:
    """The encoding of one column.

    Args:
        name: its heading.
        kind: "number"; "truth", the words true and false as 1 and 0; "words", one-hot: one feature per word.
        median: the value for a missing number, the median of the training part.
        words: the known words, sorted; any other gives zeros in all features of the column.
        marked: whether one more feature, 1 or 0, marks a missing cell.
        centered: whether the median is subtracted, because float32 would lose differences.
    """

    name: str
    kind: str
    median: float = 0.0
    words: tuple[str, ...] = ()
    marked: bool = False
    centered: bool = False

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the column's features."""
        own = tuple(f"{self.name}={word}" for word in self.words) if self.kind == "words" else (self.name,)
        return (*own, f"{self.name} is missing") if self.marked else own


class _StoredColumn(TypedDict, closed=True):
    name: str
    kind: Literal["number", "truth", "words"]
    median: float
    words: list[str]
    marked: bool
    centered: NotRequired[bool]


class _Columns(TypedDict):
    columns: list[_StoredColumn]


class _Stored(_Columns, total=False):
    ignored: list[str]
    id_column: str | None
    texts: list[str]


@dataclass(frozen=True)
class Encoder:
    """The encoding of a table's cells as features; a plain value, stored with a trained model.

    Args:
        columns: the encoded columns, in order.
        ignored: other columns that a table may have: labels, ids, columns left out.
        id_column: the column of ids, if the user named it.
        texts: the columns of free text, of which an encoder of texts makes features.
    """

    columns: tuple[Column, ...]
    ignored: tuple[str, ...] = ()
    id_column: str | None = None
    texts: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[str, ...]:
        """The D names of the features.

        >>> age, pet = Column("age", "number", 30.0, marked=True), Column("pet", "words", words=("cat",))
        >>> Encoder((age, pet)).features
        ('age', 'age is missing', 'pet=cat')
        """
        return tuple(name for column in self.columns for name in column.features)

    @property
    def offsets(self) -> tuple[float, ...]:
        """The D numbers by which the features are below the cells: 0, or the median of a centered column."""
        medians = ((c.median if c.centered else 0.0, *[0.0] * (len(c.features) - 1)) for c in self.columns)
        return tuple(offset for column in medians for offset in column)

    @classmethod
    def fit(
        cls,
        sheet: Sheet,
        rows: np.ndarray,
        not_features: Collection[str],
        notes: list[str],
        need_features: bool = True,
        id_column: str | None = None,
        text_column: str | None = None,
        weights: np.ndarray | None = None,
    ) -> Encoder:
        """Return the encoding of a sheet's columns, chosen from the rows of the training part only.

        Args:
            sheet: the table.
            rows: positions of the training rows, (n,).
            not_features: columns that are not features, such as the labels.
            notes: receives a line on each decision that a user should know.
            need_features: False leaves out a column that cannot be read, even if no column is left.
            id_column: the column of ids, if the user named it.
            text_column: the column of free text, or several with commas between them; by default every
                column of words that is no feature and has the length of sentences, see `is_free_text`.
            weights: (n,) of the training rows, above 0, for the medians of the columns; by default all alike.
                Which columns are features is decided by the rows, whatever their weights.

        Raises:
            InputError: a column of numbers has a cell that is not a number, no column is left, or the column
                of text is missing or has another role.
        """
        columns: list[Column] = []
        found = named_text_columns(sheet, text_column, not_features)
        left: dict[str, list[str]] = {}
        for name, why in sheet.unfit.items():
            if name not in not_features:
                left.setdefault(why, []).append(name)
        for name, cells in zip(sheet.names, sheet.columns, strict=True):
            if name in not_features or name in found:
                continue
            try:
                chosen = _choose(name, cells, rows, sheet, weights)
            except InputError as error:
                if need_features:
                    raise
                chosen = str(error)
            if isinstance(chosen, str):
                left.setdefault(chosen, []).append(name)
            else:
                columns.append(chosen)
        found = found or _take_texts(left, sheet, rows)
        notes += text_notes(sheet, rows, found)
        notes += [f"left out, {why}: {_listed(names)}" for why, names in left.items()]
        named = id_column is not None or any(name.lower() == "id" for name in not_features)
        if _ALL_DIFFER in left and not named:
            first = left[_ALL_DIFFER][0]
            notes.append(
                f"if {first!r} identifies the rows, name it with --id-column (id_column=), or call it id; "
                "their ids are row:0, row:1, ... now"
            )
        if not columns and not found and need_features:
            why = "; ".join(f"{why}: {_listed(names)}" for why, names in left.items()) or "it has no others"
            raise InputError(
                f"{sheet.source} has no column to learn from besides the labels ({why}); add columns of "
                "numbers or of few different words, name a column of text (--text-column), or audit it with "
                "probabilities of your own (--probs)"
            )
        if of_words := [f"{c.name!r} ({len(c.words)})" for c in columns if c.kind == "words"]:
            notes.append(f"one feature per word of {_listed(of_words, quoted=True)}")
        counts = [(c.name, int(is_missing(sheet[c.name])[rows].sum())) for c in columns if c.marked]
        if marked := [f"{name!r} ({count})" for name, count in counts]:
            listed = _listed(marked, quoted=True)
            notes.append(
                f"missing cells are filled with the median and marked in an additional feature: {listed}"
            )
        ignored = tuple(dict.fromkeys([*not_features, *(name for names in left.values() for name in names)]))
        return cls(tuple(columns), ignored, id_column, tuple(found))

    def texts_of(self, sheet: Sheet) -> list[str] | None:
        """Return the free text of each row of a table; None for a table without such a column.

        Raises:
            InputError: a column of text is missing.
        """
        if lacking := [name for name in self.texts if name not in sheet.names]:
            hint = did_you_mean(lacking[0], sheet.names)
            raise InputError(f"{sheet.source} lacks the column of text {lacking[0]!r}{hint}")
        return joined_texts(sheet, self.texts) if self.texts else None

    def encode(self, sheet: Sheet, notes: list[str] | None = None) -> np.ndarray:
        """Return the rows of a table as features, float32 (N, D).

        Args:
            sheet: a table with the same columns in any order; `ignored` ones are optional.
            notes: receives a line on words that did not occur in training, and on missing cells in
                columns that had none.

        Raises:
            InputError: a column is missing or unknown, or a cell is not a number where one is expected.
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
                filling = np.where(missing, column.median, values)
                features.append(filling - column.median if column.centered else filling)
            if column.marked:
                features.append(missing)
            elif missing.any():
                filled.append(f"{column.name!r} ({int(missing.sum())})")
        if notes is not None and unseen:
            notes.append(f"words unknown from training, encoded as none: {_listed(unseen, quoted=True)}")
        if notes is not None and filled:
            notes.append(f"missing cells in columns without any in training: {_listed(filled, quoted=True)}")
        if not features:
            return np.empty((len(sheet), 0), np.float32)
        return np.stack([feature.astype(np.float32) for feature in features], axis=1)

    def _check_columns(self, sheet: Sheet) -> None:
        known, there = {column.name for column in self.columns}, set(sheet.names)
        for column in self.columns:
            if column.name in sheet.unfit:
                raise InputError(
                    f"{sheet.source}: the column {column.name!r} holds {sheet.unfit[column.name]}, expected "
                    f"{'words' if column.kind == 'words' else 'numbers'} as in training"
                )
            if column.name not in there:
                hint = did_you_mean(column.name, [name for name in sheet.names if name not in known])
                raise InputError(
                    f"{sheet.source} lacks the column {column.name!r} of the training table{hint}"
                )
        known.update(self.ignored, self.texts)
        strange = [name for name in (*sheet.names, *sheet.unfit) if name not in known]
        if strange:
            lacking = [name for name in self.texts if name not in there]
            advice = f"name it {lacking[0]!r}, which is missing here" if lacking else "remove it"
            raise InputError(
                f"{sheet.source} has the column {strange[0]!r}, which the training table lacks; {advice}"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the encoder as a dict that JSON can hold."""
        named: dict[str, Any] = {} if self.id_column is None else {"id_column": self.id_column}
        named |= {"texts": list(self.texts)} if self.texts else {}
        columns = [dataclasses.asdict(c) | {"words": list(c.words)} for c in self.columns]
        for column in columns:  # only where it holds, so that other models keep their digests
            if not column["centered"]:
                del column["centered"]
        return {"columns": columns, "ignored": list(self.ignored), **named}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Encoder:
        """Return the encoder that `to_json` returned; an `InputError` if it is invalid.

        >>> encoder = Encoder((Column("pet", "words", words=("cat", "dog")),), ("label",))
        >>> Encoder.of_json(encoder.to_json()) == encoder
        True
        """
        found = checked(value, _Stored, "the encoding of a table's columns", "train again")
        columns = (Column(**each | {"words": tuple(each["words"])}) for each in found["columns"])
        ignored, texts = (tuple(found.get(key, ())) for key in ("ignored", "texts"))
        return cls(tuple(columns), ignored, found.get("id_column"), texts)


def _take_texts(left: dict[str, list[str]], sheet: Sheet, rows: np.ndarray) -> list[str]:
    """Remove the columns of free text from those that are left out, and return them in the table's order."""
    found = set()
    for why in (_ALL_DIFFER, _MANY_WORDS):
        names = left.pop(why, [])
        texts = {name for name in names if is_free_text(sheet[name][rows])}
        if rest := [name for name in names if name not in texts]:
            left[why] = rest
        found |= texts
    return [name for name in sheet.names if name in found]


def weighted_median(values: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the median of values of which each counts as often as its weight says.

    Args:
        values: (n,) floats.
        weights: (n,), above 0; by default all alike.

    >>> weighted_median(np.array([3.0, 1.0, 2.0]), np.array([2.0, 1.0, 1.0]))
    2.5
    """
    if weights is None or bool((weights == weights[0]).all()):
        return float(np.median(values))
    order = np.argsort(values, kind="stable")
    until = np.cumsum(weights[order])
    # half of the weight; rounding must not move it past a value that ends there
    half = until[-1] / 2
    ends = half * (1 - 1e-12), half * (1 + 1e-12)
    low, high = (values[order[np.searchsorted(until, ends[i], "left")]] for i in range(2))
    return float((low + high) / 2)


def _choose(
    name: str, cells: np.ndarray, rows: np.ndarray, sheet: Sheet, weights: np.ndarray | None = None
) -> Column | str:
    """Return the encoding of a column, or the reason for leaving it out."""
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
        return "a single value"
    if len(cells) >= COUNTED_FROM and bool((np.diff(values) == 1).all()):
        return "row numbers"
    median = weighted_median(known, None if weights is None else weights[~missing])
    return dataclasses.replace(column, median=median, centered=loses_differences(known))


def _of_words(name: str, words: Sequence[str], n: int, marked: bool) -> Column | str:
    if all(_DATE.fullmatch(word) for word in words):
        return "dates (convert them to numbers, such as days since a date)"
    if len(words) == 1 and not marked:
        return "a single value"
    cells = np.array(words, dtype=object)
    if len(words) == n or len(words) > MOST_WORDS or (2 * len(words) > n and is_free_text(cells)):
        if all(_is_pointed(word) for word in words):
            return "numbers with a decimal comma instead of a point"
        return _ALL_DIFFER if len(words) == n else _MANY_WORDS
    return Column(name, "words", words=tuple(words), marked=marked)


def _numbers(column: Column, cells: np.ndarray, missing: np.ndarray, sheet: Sheet) -> np.ndarray:
    """Return the cells of a column of numbers, float64 (N,), NaN for missing cells."""
    if cells.dtype.kind != "O":
        values = cells.astype(np.float64)
    else:
        filled = np.where(missing, "nan", cells)
        # an earlier version took true, false and missing cells of a file for numbers
        if column.kind == "truth" or {word.lower() for word in set(filled)} <= {*_TRUTH, "nan"}:
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
    """Return whether a word is a number, possibly with a decimal comma and points between thousands."""
    return is_number(cell) or is_number(cell.replace(".", "").replace(",", "."))


def _hint(cell: str) -> str:
    if _is_pointed(cell):
        return "; write numbers with a decimal point and without thousands separators"
    return "; correct it or leave it empty"


def _listed(names: Sequence[str], quoted: bool = False) -> str:
    """Return the first names and the number of others as text."""
    some = ", ".join(name if quoted else repr(name) for name in names[:MOST_NOTES])
    return f"{some} and {len(names) - MOST_NOTES} more" if len(names) > MOST_NOTES else some
