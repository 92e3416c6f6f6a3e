"""Arrays, Parquet files and pictures beside or in class folders neither hide the images nor vanish."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from noisylabels.core.checks import InputError
from noisylabels.data.catalog import load

NUMBERS = pd.DataFrame({"x": np.arange(8.0), "label": ["cat", "dog"] * 4})


def ten(kind, n=10):
    return [f"{kind}/{i}.png" for i in range(n)]


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        NUMBERS.to_parquet(path)
    elif path.suffix == ".npz":
        np.savez(path, X=np.zeros((8, 2)), y=np.arange(8) % 2)
    elif path.suffix == ".npy":
        np.save(path, np.arange(8) % 2 if "label" in path.name or path.stem == "y" else np.zeros((8, 2)))
    else:
        path.write_bytes(b"x")


def encoded(n, gray):
    images = []
    for i in range(n):
        buffer = io.BytesIO()
        Image.new("L", (8, 8), (gray + i) % 256).save(buffer, "PNG")
        images.append({"bytes": buffer.getvalue(), "path": None})
    return pd.DataFrame({"image": images, "label": ["ant", "bee"] * (n // 2)})


@pytest.mark.parametrize(
    ("files", "note"),
    [
        (["cat/meta.parquet"], "left out 1 file that is no readable image: 1 .parquet"),
        (["cat/meta.parquet", "dog/meta.parquet"], "2 .parquet"),
        (
            ["metadata.parquet"],
            "left out metadata.parquet straight in photos: the images in class folders are",
        ),
        (["probs.parquet", "train.parquet"], "left out probs.parquet and 1 more straight in photos"),
        (["features.npy", "labels.npy"], "left out features.npy and 1 more straight in photos"),
        (["embeddings.npz"], "left out embeddings.npz straight in photos"),
        (["X.npy", "y.npy"], "left out X.npy and 1 more straight in photos"),
        (
            ["a.heic", "B.HEIC", "c.svg"],
            "3 files that are no readable images: 2 .heic (install pillow-heif), 1 .s",
        ),
        (["readme.md", "LICENSE"], None),
    ],
)
@pytest.mark.parametrize("part", ["", "train/"])
def test_files_beside_class_folders_are_counted(files, note, part, tree):
    root = tree(*ten(f"{part}cat"), *ten(f"{part}dog"))
    before = load(root)[0]
    for name in files:
        write(root / part / name)
    train, _ = load(root)
    assert (train.class_names, train.digest) == (before.class_names, before.digest)
    new = [line for line in train.notes if line not in before.notes]
    assert len(new) == (note is not None)
    assert note is None or note.replace("photos", part.rstrip("/") or "photos") in new[0]


def test_files_straight_in_a_part_are_counted(tree):
    root = tree(*ten("train/cat"), *ten("train/dog"))
    for name in ("train/a.heic", "train/b.avifs", "train/x.npz", "c.heic"):
        write(root / name)
    notes = load(root)[0].notes
    assert any("2 .heic" in note for note in notes)
    assert "left out x.npz straight in train: the images in class folders are the data" in notes


@pytest.mark.parametrize("name", ["train-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"])
def test_files_of_the_hub_are_read_beside_pictures_with_a_note(name, tree):
    root = tree(*ten("docs", 2), *ten("assets", 2))
    (root / name).parent.mkdir(exist_ok=True)
    encoded(20, 30).to_parquet(root / name)
    train, _ = load(root)
    assert train.class_names == ("ant", "bee")
    assert any(note.startswith("left out 4 images in the folders of ") for note in train.notes)


def test_arrays_and_tables_count_without_images_in_class_folders(tree):
    root = tree("figures/1.png", "figures/2.png", "empty/")  # one folder is no choice of classes
    NUMBERS.loc[list(range(8)) * 3].to_parquet(root / "rows.parquet")
    assert load(root)[0].class_names == ("cat", "dog")
    assert type(load(root)[0]).__name__ == "FeatureSet"


def test_several_sets_of_parquet_files_are_still_refused(tree):
    root = tree("a/", "b/")
    for name in ("a/x.parquet", "b/x.parquet"):
        write(root / name)
    with pytest.raises(InputError, match="several data sets"):
        load(root)
