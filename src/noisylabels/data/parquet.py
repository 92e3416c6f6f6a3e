"""Image sets in Parquet as on the Hugging Face hub: encoded images and class numbers in columns."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import TypedDict

from noisylabels.core.checks import InputError, Unlabeled, did_you_mean
from noisylabels.core.columnar import arrow_cells, open_parquet, parquet_columns
from noisylabels.core.json_text import parse_json
from noisylabels.core.labels import read_labels
from noisylabels.core.positions import Positions
from noisylabels.core.schema import checked
from noisylabels.core.tables import (
    PREFERENCES,
    ROLES,
    check_once,
    is_missing,
    passed_over,
    role_columns,
    role_names,
    texts,
)
from noisylabels.data.decode import Decoding, survey
from noisylabels.data.file_sources import images_below
from noisylabels.data.image_decoding import Encoded
from noisylabels.data.names import unique_names
from noisylabels.data.own_outputs import is_own
from noisylabels.data.reader import LABELS, Options, Plan, ReadResult, held_out_note, name_of
from noisylabels.data.split import hold_out
from noisylabels.data.splits import TEST, TRAIN, VAL, by_split, split_of, unread_splits

LAYOUT = "*.parquet or <split>-*.parquet, also in data/ or in the only folder with such files"

_FILES = "*." + "".join(f"[{letter}{letter.upper()}]" for letter in "parquet")  # of either case
_ROWS = 256  # rows of image bytes in memory at a time
_SHARD = re.compile(r"[-_.]?\d+-of-\d+.*$")  # the rest after the split in "train-00000-of-00002-0a1b"


def parquet_files(path: Path) -> list[Path]:
    """Return the Parquet files of `path`: itself, those in it, in data/, or in the only folder with any.

    The hub stores a data set with a single configuration in such a folder, for example plain_text/.
    """
    if path.is_file():
        return [path] if path.suffix.lower() == ".parquet" else []
    if not path.is_dir():
        return []
    for folder in (path, path / "data"):
        if found := sorted(folder.glob(_FILES)):
            return found
    folders = sorted({file.parent for file in path.glob(f"*/{_FILES}")})
    folders = [folder for folder in folders if not is_own(str(folder))]
    if len(folders) > 1:
        names = ", ".join(folder.name for folder in folders)
        raise InputError(f"{path} holds several data sets ({names}); name the folder of one of them")
    return sorted(folders[0].glob(_FILES)) if folders else []


def find(path: Path) -> Path | None:
    """Return `path` if it is or holds Parquet files, else None."""
    return path if parquet_files(path) else None


def is_hub(path: Path) -> bool:
    """Return whether a folder has Parquet files of a training part as on the hub, also beside pictures.

    They hold images, or lie in a folder of their own that holds none.
    """
    train = [file for file in parquet_files(path) if split_of(split_name(file)) == TRAIN]
    if not train:
        return False
    if train[0].parent != path and not any(True for _ in images_below(train[0].parent)):
        return True
    return holds_images(train[0])


def holds_images(path: Path) -> bool:
    """Return whether the first Parquet file of `path` has a column of images; False without such files."""
    files = parquet_files(path)
    if not files:
        return False
    with open_parquet(files[0]) as opened:
        return bool(image_columns(opened.schema_arrow))


def plan(path: Path, options: Options, unlabeled: tuple[str, ...] = ()) -> Plan:
    """Plan to read the Parquet data set at `path`.

    Args:
        path: a file, or a folder of files named <split>-*.parquet.
        options: see `Options`.
        unlabeled: the names of the classes of a set whose labels, if it has any, are not read; all examples
            are of the first.

    Returns:
        The plan.

    Raises:
        InputError: the training part is missing; later, on reading: a file is damaged, a column is
            missing, or a row has no valid label.
    """
    notes: list[str] = []
    parts = choose_parts(path, notes)
    (train, train_files), (test, test_files) = parts[0], parts[1] if len(parts) > 1 else (None, [])
    base = path if path.is_dir() else path.parent
    return Plan(
        name=name_of(path),
        root=path,
        files={file.relative_to(base).as_posix(): file for file in train_files + test_files},
        options={
            "reader": "parquet",
            "labels": LABELS,
            "splits": [train, test],
            **options.sizes,
            "bad_images": options.bad_images,
            "test_fraction": None if test else options.test_fraction,
            **options.columns,
            **({"unlabeled": list(unlabeled)} if unlabeled else {}),
        },
        read=lambda: _read(path, train_files, test_files, train, test, options, unlabeled),
        notes=tuple(notes),
    )


def choose_parts(path: Path, notes: list[str]) -> list[tuple[str, list[Path]]]:
    """Return name and files of the training part and, if there is one, of the test part.

    `notes` receives a line on ignored parts.

    Raises:
        InputError: there are several parts, and none is called train.
    """
    splits: dict[str, list[Path]] = {}
    for file in parquet_files(path):
        splits.setdefault(split_name(file), []).append(file)
    named = by_split(splits, path)
    train, test = named.get(TRAIN), next((named[split] for split in (TEST, VAL) if split in named), None)
    if len(splits) == 1 and (path.is_file() or not test):
        train, test = next(iter(splits)), None
    elif train is None:
        raise InputError(f"{path} has the parts {', '.join(splits)} but none called train-*.parquet")
    if ignored := sorted(set(splits) - {train, test}):
        counts = [f"{name} ({sum(map(num_rows, splits[name])):,} rows)" for name in ignored]
        notes.append(f"ignored the parts {', '.join(counts)} of {name_of(path)}")
    return [(name, splits[name]) for name in (train, test) if name]


def split_name(file: Path) -> str:
    """Return the part that a file belongs to: "train" for train-00000-of-00002.parquet."""
    first, whole = file.stem.split("-")[0], _SHARD.sub("", file.stem)
    name = whole if split_of(whole) or not split_of(first) else first
    return re.sub(r"[-_.]?\d+$", "", name) if split_of(name) else name


def positions_in(path: Path, files: Sequence[Path]) -> Positions:
    """Return where the rows of some files lie among those of all Parquet files of `path`, sorted by path.

    These are the rows of `pandas.read_parquet(path)`; `doubt` if the numbers in the names give another order.
    """
    start, spans = 0, dict[Path, np.ndarray]()
    of_path = parquet_files(path)
    unlike = of_path != sorted(of_path, key=_by_number)
    for file in of_path:
        count = num_rows(file)
        spans[file] = np.arange(start, start + count)
        start += count
    doubt = "the Parquet files have different orders, sorted as text and sorted by number" if unlike else ""
    return Positions(np.concatenate([spans[file] for file in files]), start, doubt=doubt)


def _by_number(file: Path) -> list[tuple[int, str]]:
    """Return a key that sorts train-2.parquet before train-10.parquet."""
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in re.split(r"(\d+)", file.stem)]


def _read(
    path: Path,
    train_files: list[Path],
    test_files: list[Path],
    train: str,
    test: str | None,
    options: Options,
    unlabeled: tuple[str, ...],
) -> ReadResult:
    notes: list[str] = []
    layout = Layout.of(train_files[0], notes, options.label_column, unlabeled)
    key = options.id_column
    if key is not None:
        check_column(key, layout.columns, str(train_files[0]), "id")
    notes += _unread_splits(layout, train_files)
    parts = [(train, train_files)] + ([(test, test_files)] if test else [])
    cells, ids = [], list[str]()
    for split, files in parts:
        of_split = [layout.labels(file) for file in files]
        cells += of_split
        if key is None:
            ids += [f"{split}:{row}" for row in range(sum(map(len, of_split)))]
        else:
            ids += [name for file in files for name in ids_in(file, key)]
    if key is not None:
        ids, again = unique_names(ids)
        if again:
            notes.append(f"{len(again):,} ids occur again, first {ids[again[0]]}")
    ends = np.cumsum([len(part) for part in cells])

    def where(row: int) -> str:
        part = int(np.searchsorted(ends, row, side="right"))
        return f"{(train_files + test_files)[part]}, row {row - int(ends[part]) + len(cells[part])}"

    what, named = f"the labels of {train_files[0]}", layout.class_names or None
    found = read_labels(np.concatenate(cells), named, where=where, what=what, indexed=True)
    y, class_names = found.codes, found.class_names
    num_train = int(ends[len(train_files) - 1])
    images: Collection[Encoded]
    positions = positions_in(path, train_files + test_files)
    if test:
        images = Images(layout.image, train_files + test_files, [np.arange(len(y))])
    else:
        chosen = hold_out(y, ids, options.test_fraction)
        order = np.concatenate(chosen)
        num_train = len(chosen[0])
        y, ids = y[order], [ids[i] for i in order]
        positions = dataclasses.replace(positions.take(order), whole=False)
        images = Images(layout.image, train_files, chosen)
        notes.append(held_out_note(len(chosen[1]), options.test_fraction))
    found_sizes = survey(images, options.size, options.progress)
    notes += found_sizes.notes
    shape, white = found_sizes.shape, found_sizes.white
    decoding = Decoding(images, ids, shape, options.bad_images, options.progress, white)
    return ReadResult.of_encoded(decoding, y, class_names, num_train, notes, positions, found_sizes.kept)


@dataclass(frozen=True)
class Layout:
    """The image and label columns of a data set's files, and the class names."""

    image: str
    label: str  # empty if all examples are of the first class
    class_names: tuple[str, ...]  # empty if the files name none
    columns: tuple[str, ...]

    @classmethod
    def of(
        cls,
        file: Path,
        notes: list[str],
        label_column: str | None = None,
        unlabeled: tuple[str, ...] = (),
    ) -> Layout:
        """Return the layout according to a file's schema; `notes` receives a line on ignored columns."""
        with open_parquet(file) as parquet:
            schema = parquet.schema_arrow
        image = choose_column(image_columns(schema), "image", str(file), schema.names, notes)
        if unlabeled:
            return cls(image, "", unlabeled, tuple(schema.names))
        named = class_label_names(schema)
        if label_column is None:
            label = choose_column(list(named), "label", str(file), schema.names, notes)
        else:
            label = check_column(label_column, schema.names, str(file))
        return cls(image, label, named.get(label, ()), tuple(schema.names))

    def labels(self, file: Path) -> np.ndarray:
        """Return the labels of a file as they are stored, see `arrow_cells`."""
        if not self.label:
            return np.zeros(num_rows(file), dtype=np.int64)
        with open_parquet(file) as parquet:
            missing = [c for c in (self.image, self.label) if c not in parquet.schema_arrow.names]
            if missing:
                raise InputError(f"{file} lacks the column {missing[0]!r} that the first file has")
            column = parquet.read(columns=[self.label]).column(self.label)
        cells = arrow_cells(column)
        if isinstance(cells, str) or cells.ndim != 1:
            held = cells if isinstance(cells, str) else "lists of numbers"
            raise InputError(
                f"{file}: the column {self.label!r} holds {held}, expected class names or numbers"
            )
        return cells


def _unread_splits(layout: Layout, files: Sequence[Path]) -> list[str]:
    """Return a note if a column names the part of each row, which files decide on here."""
    for column in (layout.columns[k] for k in role_columns(layout.columns, "split")):
        tables = []
        for file in files if column != layout.label else ():
            with open_parquet(file) as parquet:
                if column in parquet.schema_arrow.names:
                    tables.append(parquet.read(columns=[column]).column(0).unique().to_pylist())
        if note := unread_splits(column, [cell for table in tables for cell in table]):
            return note
    return []


def ids_in(file: Path, column: str) -> list[str]:
    """Return the ids in a column of a file as text.

    Raises:
        InputError: the file lacks the column, it holds neither text nor numbers, or an id is missing.
    """
    names, _, read = parquet_columns([file])
    if column not in names:
        raise InputError(f"{file} lacks the column {column!r} that the first file has")
    cells = read(column)
    if isinstance(cells, str) or cells.ndim != 1:
        what = cells if isinstance(cells, str) else "lists"
        raise InputError(f"{file}: the id column {column!r} holds {what}, expected text or integers")
    if (missing := is_missing(cells)).any():
        raise InputError(f"{file}, row {int(missing.argmax())}: the id is missing; give the row one")
    return list(texts(cells))


@dataclass(frozen=True)
class Images(Collection[Encoded]):
    """The image bytes of chosen rows, streamed from the files in each iteration."""

    column: str
    files: Sequence[Path]
    rows: Sequence[np.ndarray]  # groups in ascending order; each takes one pass over the files

    def __len__(self) -> int:
        return sum(len(group) for group in self.rows)

    def __contains__(self, item: object) -> bool:
        return any(item == encoded for encoded in self)

    def __iter__(self) -> Iterator[bytes]:
        for group in self.rows:
            start = 0
            for file in self.files:
                for first, images in self._batches(file):
                    low, high = np.searchsorted(group, (start + first, start + first + len(images)))
                    for row in group[low:high]:
                        yield self._bytes(images, int(row) - start - first, first, file)
                start += num_rows(file)

    def _batches(self, file: Path) -> Iterator[tuple[int, Any]]:
        first = 0
        with open_parquet(file) as parquet:
            for batch in parquet.iter_batches(batch_size=_ROWS, columns=[self.column]):
                yield first, batch.column(0)
                first += len(batch)

    def _bytes(self, images: Any, at: int, first: int, file: Path) -> bytes:
        value = images[at].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if content is None:
            if isinstance(value, dict) and (path := value.get("path")):
                raise InputError(
                    f"{file}, row {first + at}: there is only the path {path!r}, no bytes in the column "
                    f"{self.column!r}"
                )
            content = b""  # a missing image counts as a damaged one
        return bytes(content)


def notes_on_columns(files: Sequence[Path]) -> list[str]:
    """Return a note on the columns that the first file lacks, which are not read."""
    names: list[dict[str, None]] = []
    for file in files:
        with open_parquet(file) as parquet:
            names.append(dict.fromkeys(parquet.schema_arrow.names))
    more = {name: None for found in names[1:] for name in found if name not in names[0]}
    if not more:
        return []
    listed, where = ", ".join(more), files[0].name
    return [f"ignored the column{'s' if len(more) > 1 else ''} {listed}, which {where} does not have"]


def num_rows(file: Path) -> int:
    """Return the number of rows of a file."""
    with open_parquet(file) as parquet:
        return int(parquet.metadata.num_rows)


class _Info(TypedDict):
    features: dict[str, Any]


_HUB = "the hub's description of the columns"


class _Described(TypedDict):
    info: _Info


class _Feature(TypedDict, total=False):
    _type: str
    names: list[str] | None


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """Return the hub's description of the columns, empty if it is missing or invalid."""
    try:
        found = parse_json((schema.metadata or {}).get(b"huggingface", b""), _HUB, foreign=True)
        features = checked(found, _Described, _HUB)["info"]["features"]
        described = {name: kind for name, kind in features.items() if isinstance(kind, dict)}
        checked(described, dict[str, _Feature], _HUB)
    except InputError:
        return {}
    return described


def image_columns(schema: Any) -> list[str]:
    """Return the columns of a file that hold images."""
    features = _features(schema)
    return [field.name for field in schema if _holds_images(field, features)]


def class_label_names(schema: Any) -> dict[str, tuple[str, ...]]:
    """Return the columns that the hub declares as labels, with their class names, if any."""
    return {
        name: tuple(kind.get("names") or ())
        for name, kind in _features(schema).items()
        if kind.get("_type") == "ClassLabel" and name in schema.names
    }


def _holds_images(field: Any, features: dict[str, dict[str, Any]]) -> bool:
    import pyarrow as pa

    if features.get(field.name, {}).get("_type") == "Image":
        return True
    if pa.types.is_struct(field.type):
        return any(field.type.field(i).name == "bytes" for i in range(field.type.num_fields))
    return field.name.lower() in ROLES["image"] and (
        pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
    )


def check_column(name: str, columns: Sequence[str], where: str, role: str = "label") -> str:
    """Return the column that a user named for a role, or raise an `InputError` with the nearest name."""
    if name not in columns:
        raise InputError(f"{where} has no {role} column {name!r}{did_you_mean(str(name), columns)}")
    return name


def choose_column(
    declared: Sequence[str], role: str, where: str, columns: Sequence[str], notes: list[str]
) -> str:
    """Return the column to use for a role; `notes` receives a line on ignored ones.

    Args:
        declared: the columns that have the role by their type. Image columns must; label columns may also be
            found by name. A declared column is preferred to one with an unusual name, such as y.
        role: "image" or "label".
        where: what an error calls the data.
        columns: all columns.
        notes: receives a line if several columns match.

    Raises:
        InputError: no column matches (`Unlabeled` for labels), or two have the same name.
    """
    named = [columns[k] for k in role_columns(columns, role, "parquet")]
    if role == "image" or (
        declared and not any(name.lower() in PREFERENCES["parquet", role] for name in named)
    ):
        named = [name for name in named if name in declared]
    ranked = [*named, *(name for name in declared if name not in named)]
    if not ranked:
        names = role_names(role, "parquet")
        raise (Unlabeled if role == "label" else InputError)(
            f"{where} has no {role} column; it has {', '.join(columns)}, expected one called "
            f"{', '.join(names[:-1])} or {names[-1]}"
        )
    check_once(columns, columns.index(ranked[0]), where)
    if len(ranked) > 1:
        notes.append(passed_over(role, ranked))
    return ranked[0]
