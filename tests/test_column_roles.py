"""Every name of every role, in every consumer of the role, is accepted with the same meaning."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from noisylabels.audit.probability_files import read_probs
from noisylabels.audit.review.forms import Source, _columns
from noisylabels.core.checks import InputError
from noisylabels.core.tables import ROLES
from noisylabels.data.catalog import load
from noisylabels.data.corrections import read_corrections
from noisylabels.noise.corruption import corrupt
from noisylabels.noise.label_files import read_labels

CLASSES = ("cat", "dog")
LABELS = [0, 1, 1, 0, 1, 0]
TRUE = [1, 1, 0, 0, 1, 0]
IDS = [f"{k}.png" for k in (3, 1, 5, 0, 4, 2)]
SPLITS = ["train", "test", "train", "train", "test", "train"]
WORDS = [CLASSES[k] for k in LABELS]
ORDER = [4, 0, 5, 2, 1, 3]  # of the rows in files whose rows are matched by ids


def picture(k: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (40 * k, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def text(path: Path, columns: dict[str, list[object]]) -> Path:
    lines = [list(columns), *zip(*columns.values(), strict=True)]
    path.write_text("".join("\t".join(map(str, line)) + "\n" for line in lines))
    return path


def table(path: Path, columns: dict[str, list[object]]) -> Path:
    """Write columns in the form that the suffix asks for."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".npz":
        with zipfile.ZipFile(path, "w") as archive:  # np.savez takes no array called file
            for name, column in columns.items():
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, np.array(column))
    else:
        text(path, columns)
    return path


def shuffled(column: list[object]) -> list[object]:
    return [column[k] for k in ORDER]


# Consumers: each writes a file with columns of the given names and returns what is read of it -------


def image_table(folder: Path, path: str = "path", label: str = "label", split: str = "split") -> object:
    for k, name in enumerate(IDS):
        folder.joinpath(name).write_bytes(picture(k))
    train, test = load(str(text(folder / "t.tsv", {path: IDS, label: WORDS, split: SPLITS})))
    return [(list(part.ids), part.labels.tolist(), part.class_names) for part in (train, test)]


def features(suffix: str) -> Callable[..., object]:
    def read(folder: Path, label: str = "label", split: str = "split", id: str = "id") -> object:
        columns = {"width": [1.5, 2, 3, 4, 5, 6], id: IDS, label: WORDS, split: SPLITS}
        if suffix == ".tsv":  # whose cells may not look like file names of images
            columns[id] = [name.removesuffix(".png") for name in IDS]
        train, test = load(str(table(folder / f"t{suffix}", columns)))
        ids = [[name.removesuffix(".png") for name in part.ids] for part in (train, test)]
        names = train.encoder.features
        return ids, names, [(part.features.tolist(), part.labels.tolist()) for part in (train, test)]

    return read


def image_parquet(folder: Path, image: str = "image", label: str = "label") -> object:
    columns = {image: [picture(k) for k in range(6)], label: LABELS, "size": LABELS}
    path = table(folder / "train-0.parquet", columns)
    table(folder / "test-0.parquet", columns)
    assert path.exists()
    return [(part.images.tolist(), part.labels.tolist()) for part in load(str(folder))]


def hub_set(folder: Path, label: str = "label") -> object:
    class Hub:
        def __init__(self) -> None:
            self.features = {"picture": type("Image", (), {"_type": "Image"}), label: type("Value", (), {})}
            self.column_names = ["picture", label]

        def __len__(self) -> int:
            return 6

        def __getitem__(self, row: int) -> object:
            return {"picture": Image.open(io.BytesIO(picture(row))), label: LABELS[row]}

    return [(part.images.tolist(), part.labels.tolist()) for part in load({"train": Hub(), "test": Hub()})]


def image_arrays(folder: Path, label: str = "labels") -> object:
    images = np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4)
    arrays = {f"{part}_{name}": cells for part in ("train", "test") for name, cells in
              (("images", images), (label, np.array(LABELS)))}  # fmt: skip
    np.savez(folder / "a.npz", **arrays)
    return [(part.images.tolist(), part.labels.tolist()) for part in load(str(folder / "a.npz"))]


def feature_arrays(folder: Path, label: str = "y") -> object:
    X = np.arange(12.0).reshape(6, 2)
    np.savez(
        folder / "a.npz", **{"X_train": X, f"{label}_train": LABELS, "X_test": X, f"{label}_test": LABELS}
    )
    return [(part.features.tolist(), part.labels.tolist()) for part in load(str(folder / "a.npz"))]


def noise(suffix: str) -> Callable[..., object]:
    def read(
        folder: Path, id: str = "id", given: str | None = None, true: str = "true", label: str = "label"
    ) -> object:
        numbered = LABELS if suffix == ".npz" else WORDS
        columns = {id: IDS, given or label: numbered, true: TRUE}
        path = table(folder / f"t{suffix}", {name: shuffled(cells) for name, cells in columns.items()})
        found = read_labels(path, num_classes=2, class_names=CLASSES, ids=IDS)
        assert found.true is not None
        return found.given.tolist(), found.true.tolist(), found.by_ids, found.notes

    return read


def corrections(suffix: str) -> Callable[..., object]:
    def read(folder: Path, id: str = "id", label: str = "label") -> object:
        found = read_corrections(table(folder / f"t{suffix}", {"x": TRUE, id: IDS, label: WORDS}), CLASSES)
        return found.labels, found.notes

    return read


def probabilities(suffix: str) -> Callable[..., object]:
    def read(folder: Path, **names: str) -> object:
        probs = [k / 10 for k in range(6)]
        keys = {names.get("index", "index"): list(range(6))} if "index" in names else {names["id"]: IDS}
        columns = {**keys, "cat": probs, "dog": [1 - p for p in probs], "probability": TRUE}
        path = table(folder / f"t{suffix}", {name: shuffled(cells) for name, cells in columns.items()})
        return np.asarray(read_probs(path, CLASSES, IDS).probs).tolist()

    return read


def export_of_images(folder: Path, path: str = "path", label: str = "label") -> object:
    return _columns(["x", path, label], Source(folder / "t.csv"))


def export_of_features(folder: Path, label: str = "label") -> object:
    return _columns(["x", "id", label], Source(folder / "t.csv", features=True))


CONSUMERS: dict[str, tuple[Callable[..., object], tuple[str, ...]]] = {
    "image table": (image_table, ("path", "label", "split")),
    "feature table": (features(".tsv"), ("label", "split")),
    "feature Parquet": (features(".parquet"), ("label", "split")),
    "image Parquet": (image_parquet, ("image", "label")),
    "Hugging Face object": (hub_set, ("label",)),
    "arrays of images": (image_arrays, ("label",)),
    "arrays of features": (feature_arrays, ("label",)),
    "noise, TSV": (noise(".tsv"), ("id", "given", "true", "label")),
    "noise, Parquet": (noise(".parquet"), ("id", "given", "true", "label")),
    "noise, npz": (noise(".npz"), ("id", "given", "true", "label")),
    "corrections, TSV": (corrections(".tsv"), ("id", "label")),
    "corrections, Parquet": (corrections(".parquet"), ("id", "label")),
    "probabilities, TSV": (probabilities(".tsv"), ("id", "index")),
    "probabilities, Parquet": (probabilities(".parquet"), ("id", "index")),
    "export of images": (export_of_images, ("path", "label")),
    "export of features": (export_of_features, ("label",)),
}
CASES = [
    (consumer, role, name)
    for consumer, (_, roles) in CONSUMERS.items()
    for role in roles
    for name in ROLES[role]
]


@pytest.mark.parametrize(("consumer", "role"), sorted({(consumer, role) for consumer, role, _ in CASES}))
def test_each_name_means_the_same(consumer: str, role: str, tmp_path: Path) -> None:
    read, _ = CONSUMERS[consumer]
    expected = None
    for k, name in enumerate((*ROLES[role], ROLES[role][-1].upper())):
        folder = tmp_path / str(k)
        folder.mkdir()
        found = read(folder, **{role: name})
        expected = found if expected is None else expected
        assert found == expected, name


def test_how_many_cases_there_are() -> None:
    assert sum(map(len, ROLES.values())) == 45
    assert Counter(role for _, role, _ in CASES) == {
        "label": 8 * 14, "id": 13 * 7, "path": 9 * 2, "split": 3 * 3, "given": 5 * 3, "true": 4 * 3,
        "index": 1 * 2, "image": 2,
    }  # fmt: skip
    assert {role for _, role, _ in CASES} == set(ROLES)


@pytest.mark.parametrize(
    "name", ["given", "true", "index", "ids", "image_id", "name", "targets", "fine_label"]
)
def test_names_of_other_roles_are_features_among_features(name: str, tmp_path: Path) -> None:
    columns = {"width": [1.5, 2, 3, 4, 5, 6], name: [3, 1, 4, 1, 5, 9], "class": WORDS}
    train, _ = load(str(text(tmp_path / "t.tsv", columns)))
    assert train.encoder.features == ("width", name)


def test_of_several_columns_the_first_name_counts_and_a_note_names_the_others(tmp_path: Path) -> None:
    columns = {"targets": TRUE, "name": IDS, "Label": WORDS, "id": IDS}
    path = text(tmp_path / "t.tsv", columns)
    expected = ["label column 'Label' used, 'targets' ignored", "id column 'id' used, 'name' ignored"]
    assert sorted(read_corrections(path, CLASSES).notes) == sorted(expected)
    notes: list[str] = []
    noisy = corrupt(TRUE, f"labels:{path}", class_names=CLASSES, ids=IDS, notes=notes)
    assert noisy.given.tolist() == LABELS
    assert sorted(notes) == sorted(f"{path}: {note}" for note in expected)
    notes = []
    probs = {"cat": [0.5] * 6, "dog": [0.5] * 6, "index": range(6), "name": IDS, "id": IDS}
    read_probs(text(tmp_path / "p.tsv", probs), CLASSES, IDS, notes=notes)  # type: ignore[arg-type]
    assert notes == ["id column 'id' used, 'name' ignored"]


def test_two_columns_of_one_name_are_refused_everywhere(tmp_path: Path) -> None:
    words = {"x": [1.5, 2, 3, 4, 5, 6], "id": list("abcdef"), "label": WORDS, "LABEL": WORDS}
    readers = {
        "corrections": lambda path: read_corrections(path, CLASSES),
        "noise": lambda path: read_labels(path, num_classes=2, class_names=CLASSES),
        "features": lambda path: load(str(path))[0].labels,
        "images": lambda path: load(str(path))[0].labels,
    }
    for what, read in readers.items():
        columns = {"path": IDS, "label": WORDS, "LABEL": WORDS} if what == "images" else words
        with pytest.raises(InputError, match="two columns called 'label' and 'LABEL'; rename one"):
            read(text(tmp_path / f"{what}.tsv", columns))


def test_a_declared_column_comes_before_one_with_an_unusual_name(tmp_path: Path) -> None:
    meta = {"info": {"features": {"kind": {"_type": "ClassLabel", "names": list(CLASSES)}}}}
    columns = {"image": [picture(k) for k in range(6)], "y": TRUE, "class_name": WORDS, "kind": LABELS}
    whole = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps(meta)})
    for part in ("train", "test"):
        pq.write_table(whole, tmp_path / f"{part}-0.parquet")
    train, _ = load(str(tmp_path))
    assert (train.labels.tolist(), train.class_names, train.notes) == (LABELS, CLASSES, ())


def test_the_document_names_what_is_accepted() -> None:
    page = Path(__file__).parents[1].joinpath("docs/data-formats.md").read_text(encoding="utf-8")
    section = page.split("\n## Names of columns\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| ")][1:]
    named = {role.strip(): tuple(name.strip(" `") for name in names.split(",")) for role, names in rows}
    assert named == dict(ROLES)
