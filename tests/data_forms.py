"""The same labeled examples in every form in which users bring data, for tests that hold over all of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Values = Sequence[Any]


@dataclass(frozen=True)
class Made:
    """Labeled examples in one form.

    Args:
        source: what `load` and `audit_labels` take: a path, or an object.
        labels: the labels in the order of the rows of the file, or of the sorted paths.
        ids: the ids in the same order.
    """

    source: Any
    labels: list[Any]
    ids: list[str]


def rows_of(labels: Values) -> np.ndarray:
    """Return features (N, 3), float32, in which the classes differ; "row 7" is the same in every form."""
    codes = _codes(labels)
    return (np.random.default_rng(0).normal(size=(len(labels), 3)) + 4 * codes[:, None]).astype("f4").round(3)


def pictures_of(labels: Values) -> np.ndarray:
    """Return images, uint8 (N, 12, 12, 3), in which the classes differ."""
    codes = _codes(labels)
    noise = np.random.default_rng(0).integers(0, 60, (len(labels), 12, 12, 3))
    return (noise + (40 * codes % 196)[:, None, None, None]).astype("uint8")


def _codes(labels: Values) -> np.ndarray:
    kinds = sorted({str(label) for label in labels})
    return np.array([kinds.index(str(label)) for label in labels])


def _rows(labels: Values) -> list[str]:
    return [f"row:{row}" for row in range(len(labels))]


def _png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def _text(folder: Path, labels: Values, name: str, delimiter: str) -> Made:
    lines = [["u", "v", "w", "label"]]
    lines += [
        [*map(str, row), str(label)] for row, label in zip(rows_of(labels).tolist(), labels, strict=True)
    ]
    path = folder / name
    path.write_text("".join(delimiter.join(line) + "\n" for line in lines))
    return Made(path, list(labels), _rows(labels))


def csv(folder: Path, labels: Values) -> Made:
    return _text(folder, labels, "table.csv", ",")


def tsv(folder: Path, labels: Values) -> Made:
    return _text(folder, labels, "table.tsv", "\t")


def parquet(folder: Path, labels: Values) -> Made:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = dict(zip("uvw", rows_of(labels).T, strict=True))
    pq.write_table(pa.table({**columns, "label": list(labels)}), folder / "table.parquet")
    return Made(folder / "table.parquet", list(labels), _rows(labels))


def npz(folder: Path, labels: Values) -> Made:
    np.savez(folder / "rows.npz", X=rows_of(labels), y=np.array(labels))
    return Made(folder / "rows.npz", list(labels), _rows(labels))


def npy(folder: Path, labels: Values) -> Made:
    place = folder / "arrays"
    place.mkdir()
    np.save(place / "x.npy", rows_of(labels))
    np.save(place / "y.npy", np.array(labels))
    return Made(place, list(labels), _rows(labels))


def image_npz(folder: Path, labels: Values) -> Made:
    np.savez(folder / "pictures.npz", images=pictures_of(labels), labels=np.array(labels))
    return Made(folder / "pictures.npz", list(labels), [f"train:{row}" for row in range(len(labels))])


def image_folder(folder: Path, labels: Values) -> Made:
    """One folder per class; the files are numbered, so that sorted paths are in the order of the classes."""
    root = folder / "photos"
    for row, (label, picture) in enumerate(zip(labels, pictures_of(labels), strict=True)):
        (root / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(root / str(label) / f"{row:03d}.png")
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    return Made(root, [labels[int(Path(path).stem)] for path in paths], paths)


def image_list(folder: Path, labels: Values) -> Made:
    """A CSV file of paths and labels; its order is not that of the sorted paths."""
    root = folder / "listed"
    (root / "files").mkdir(parents=True)
    order = np.random.default_rng(1).permutation(len(labels))
    names = [f"files/{order[row]:03d}.png" for row in range(len(labels))]
    for name, picture in zip(names, pictures_of(labels), strict=True):
        Image.fromarray(picture).save(root / name)
    lines = [f"{name},{label}\n" for name, label in zip(names, labels, strict=True)]
    (root / "labels.csv").write_text("path,label\n" + "".join(lines))
    return Made(root / "labels.csv", list(labels), names)


def image_parquet(folder: Path, labels: Values) -> Made:
    """The layout of Hugging Face: encoded images in a struct, and labels as they are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [{"bytes": _png(picture), "path": None} for picture in pictures_of(labels)]
    pq.write_table(pa.table({"image": images, "label": list(labels)}), folder / "train.parquet")
    return Made(folder / "train.parquet", list(labels), [f"train:{row}" for row in range(len(labels))])


def arrays(folder: Path, labels: Values) -> Made:
    return Made((rows_of(labels), np.array(labels)), list(labels), _rows(labels))


def pandas(folder: Path, labels: Values) -> Made:
    import pandas as pd

    frame = pd.DataFrame(rows_of(labels), columns=list("uvw"))
    return Made((frame, pd.Series(list(labels), name="label")), list(labels), _rows(labels))


def pandas_frame(folder: Path, labels: Values) -> Made:
    """One frame with the labels among its columns; its index is not 0, 1, ..."""
    import pandas as pd

    frame = pd.DataFrame(rows_of(labels), columns=list("uvw"), index=np.arange(len(labels))[::-1] + 100)
    return Made(frame.assign(label=list(labels)), list(labels), _rows(labels))


def polars(folder: Path, labels: Values) -> Made:
    import polars as pl

    frame = pl.DataFrame(dict(zip("uvw", rows_of(labels).T, strict=True)))
    return Made((frame, pl.Series("label", list(labels))), list(labels), _rows(labels))


def polars_frame(folder: Path, labels: Values) -> Made:
    import polars as pl

    frame = pl.DataFrame(dict(zip("uvw", rows_of(labels).T, strict=True)))
    return Made(frame.with_columns(pl.Series("label", list(labels))), list(labels), _rows(labels))


def hugging_face(folder: Path, labels: Values) -> Made:
    """A `datasets.Dataset` of images, with a ClassLabel that names the classes."""
    import datasets

    names = sorted({str(label) for label in labels})
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    images = [{"bytes": _png(picture), "path": None} for picture in pictures_of(labels)]
    columns = {"image": images, "label": [names.index(str(label)) for label in labels]}
    made = datasets.Dataset.from_dict(columns, features=kinds)
    return Made(made, [str(label) for label in labels], [f"train:{row}" for row in range(len(labels))])


def hugging_face_rows(folder: Path, labels: Values) -> Made:
    """A `datasets.Dataset` of numbers with labels as they are."""
    import datasets

    columns = dict(zip("uvw", rows_of(labels).T.tolist(), strict=True))
    return Made(datasets.Dataset.from_dict({**columns, "label": list(labels)}), list(labels), _rows(labels))


FORMS: dict[str, Callable[[Path, Values], Made]] = {
    form.__name__: form
    for form in (
        csv, tsv, parquet, npz, npy, image_npz, image_folder, image_list, image_parquet,
        arrays, pandas, pandas_frame, polars, polars_frame, hugging_face, hugging_face_rows,
    )
}  # fmt: skip
"""Form -> a function of an empty folder and N labels that writes or builds them in this form."""

FILES = ("csv", "tsv", "parquet", "npz", "npy", "image_npz", "image_folder", "image_list", "image_parquet")
"""The forms that the command line reads."""

KINDS: dict[str, tuple[Any, ...]] = {
    "text": ("cat", "dog"),
    "zeros": ("01", "02"),
    "points": ("1.0", "2.0"),
    "capitals": ("FALSE", "TRUE"),
    "from one": (1, 2, 3),
    "years": (2019, 2020),
    "signs": (-1, 1),
    "bool": (False, True),
    "words": ("NA", "null"),
    "alike": ("Cat", "cat"),
}
"""Kind of labels -> its classes, as their values are written."""
