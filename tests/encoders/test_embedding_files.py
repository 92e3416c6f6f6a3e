"""Files of embeddings: matched by ids, by rows or by order, never by guess; written and read back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from noisylabels.audit.probability_files import read_probs
from noisylabels.core.checks import InputError
from noisylabels.core.positions import NO_ORDER, Positions, separate
from noisylabels.data.features import feature_set
from noisylabels.data.images import image_set
from noisylabels.encoders.embedding import embed_sets
from noisylabels.encoders.embedding_files import read_embeddings, write_embeddings

IDS = ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png", "eel/1.png"]
ROWS = np.arange(15, dtype=np.float32).reshape(5, 3) / 4


def part(rows, positions=None, ids=None):
    """Return a set of the examples at rows of a source of five."""
    count = len(rows)
    return feature_set(
        np.zeros((count, 1)),
        [0, 1] * (count // 2) + [0] * (count % 2),
        ("a", "b"),
        ids=[IDS[row] for row in rows] if ids is None else ids,
        positions=Positions(np.array(rows), 5, whole=False) if positions is None else positions,
    )


PARTS = ([3, 0, 2], [4, 1])


def npz(path, ids=IDS, **more):
    np.savez(path, features=ROWS, **({} if ids is None else {"ids": np.array(ids)}), **more)


def npy(path):
    np.save(path, ROWS.astype(np.float16))


def lists(path):
    order = [4, 2, 0, 1, 3]
    pq.write_table(
        pa.table({"id": [IDS[i] for i in order], "label": [1] * 5, "v": [ROWS[i].tolist() for i in order]}),
        path,
    )


def columns(path, sign=","):
    lines = [sign.join(["file", "x1", "x2", "x3"])]
    lines += [sign.join([IDS[i], *map(str, ROWS[i].tolist())]) for i in (1, 0, 3, 2, 4)]
    path.write_text("\n".join(lines) + "\n")


def indexed(path):
    lines = ["index,x1,x2,x3"] + [",".join([str(i), *map(str, ROWS[i].tolist())]) for i in (1, 0, 3, 2, 4)]
    path.write_text("\n".join(lines) + "\n")


def plain(path):
    path.write_text("x1,x2,x3\n" + "\n".join(",".join(map(str, row)) for row in ROWS.tolist()) + "\n")


def other_name(path):
    lines = ["photo,x1,x2,x3"] + [",".join([IDS[i], *map(str, ROWS[i].tolist())]) for i in (1, 0, 3, 2, 4)]
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("f.npz", npz),
        ("f.npy", npy),
        ("f.parquet", lists),
        ("f.csv", columns),
        ("f.tsv", lambda path: columns(path, "\t")),
        ("i.csv", indexed),
        ("p.csv", plain),
        ("o.csv", other_name),
    ],
)
def test_rows_belong_to_their_examples(tmp_path, name, write):
    write(tmp_path / name)
    found = read_embeddings(tmp_path / name, [part(rows) for rows in PARTS], lambda _: None)
    for made, rows in zip(found, PARTS, strict=True):
        assert made.dtype == torch.float32
        assert made.numpy().tolist() == ROWS[rows].tolist()


def test_the_sets_keep_images_labels_and_ids(tmp_path):
    npz(tmp_path / "f.npz")
    images = image_set(np.zeros((5, 1, 4, 4), np.uint8), [0, 1, 0, 1, 0], ("a", "b"), ids=IDS)
    (made,) = embed_sets([images], str(tmp_path / "f.npz"))
    assert made.images is images
    assert made.embedding["file"]
    assert made.embedding["dimension"] == 3
    first = made.digest
    np.savez(tmp_path / "f.npz", features=ROWS + 1, ids=np.array(IDS))
    assert embed_sets([images], str(tmp_path / "f.npz"))[0].digest != first


def test_what_is_not_used_is_said(tmp_path):
    npz(tmp_path / "f.npz", labels=np.zeros(5))
    notes = []
    read_embeddings(tmp_path / "f.npz", [part([1, 2])], notes.append)
    assert notes == ["f.npz: ignored arrays: labels", "f.npz: 3 of 5 rows are not used"]
    lists(tmp_path / "f.parquet")
    notes.clear()
    read_embeddings(tmp_path / "f.parquet", [part([1, 2, 0, 3, 4])], notes.append)
    assert notes == ["f.parquet: ignored columns, which hold no features: label"]


@pytest.mark.parametrize("write", ["to_csv", "to_parquet"])
def test_the_index_of_a_frame_is_no_feature_and_no_other_order(tmp_path, write):
    frame, path, notes = pd.DataFrame(ROWS, columns=list("abc")), tmp_path / f"f.{write[3:]}", []
    getattr(frame, write)(path, index=True)
    (found,) = read_embeddings(path, [part([0, 1, 2, 3, 4])], notes.append)
    assert found.numpy().tolist() == ROWS.tolist()
    name = {"to_csv": "the one without a name", "to_parquet": "__index_level_0__"}[write]
    assert notes == [f"{path.name}: ignored columns, which hold no features: {name}"]
    getattr(frame.iloc[[1, 0, 2, 3, 4]], write)(path)
    with pytest.raises(InputError, match="all differ, as ids do"):
        read_embeddings(path, [part([0, 1, 2, 3, 4])], notes.append)
    getattr(frame.set_axis(IDS).iloc[::-1], write)(path)
    (found,) = read_embeddings(path, [part([0, 1, 2, 3, 4])], notes.append)
    assert found.numpy().tolist() == ROWS.tolist()


def _short(path):
    npz(path, ids=None)
    np.savez(path, features=ROWS[:4])


def _nan(path):
    rows = ROWS.copy()
    rows[2, 1] = np.nan
    np.savez(path, features=rows, ids=np.array(IDS))


@pytest.mark.parametrize(
    ("write", "positions", "words"),
    [
        (lambda path: npz(path, ids=[*IDS[:4], "x"]), None, "no features for 'eel/1.png'"),
        (lambda path: npz(path, ids=[*IDS[:4], IDS[0]]), None, "the id 'cat/1.png' in the rows 0 and 4"),
        (_short, None, "4 rows without ids, expected 5"),
        (lambda path: npz(path, ids=None), NO_ORDER, "no single order"),
        (lambda path: np.savez(path, a=ROWS, b=ROWS), None, "expected one called features"),
        (lambda path: np.savez(path, features=ROWS[0]), None, r"shape \(3,\), expected numbers \(N, D\)"),
        (lambda path: np.savez(path, features=ROWS, ids=np.arange(4)), None, r"\(5,\), one per row"),
        (lambda path: np.savez(path, features=ROWS.astype(object)), None, "Python objects"),
        (_nan, None, r"row 2 \('dog/1.png'\), has features that are not finite"),
        (lambda path: path.write_bytes(b"no"), None, "cannot be read as a NumPy file"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, write, positions, words):
    write(tmp_path / "f.npz")
    with pytest.raises(InputError, match=words) as error:
        read_embeddings(tmp_path / "f.npz", [part([0, 1, 2, 3, 4], positions)], lambda _: None)
    assert "\n" not in str(error.value)


def test_text_in_a_column_of_features(tmp_path):
    (tmp_path / "f.csv").write_text("id,x\n" + "\n".join(f"{name},red" for name in IDS) + "\n")
    with pytest.raises(InputError, match=r"line 2: the column 'x' is 'red', expected a number"):
        read_embeddings(tmp_path / "f.csv", [part([0, 1])], lambda _: None)


def test_a_missing_file():
    with pytest.raises(InputError, match=r"there is no file nowhere.npz"):
        embed_sets([part([0, 1])], "nowhere.npz")


@pytest.mark.parametrize("name", ["f.npz", "f.parquet", "f.npy"])
def test_what_is_written_is_read_back(tmp_path, name):
    sets = [embed_like(part(rows), ROWS[rows]) for rows in PARTS]
    write_embeddings(tmp_path / name, sets)
    found = read_embeddings(tmp_path / name, [part(rows) for rows in PARTS], lambda _: None)
    for made, rows in zip(found, PARTS, strict=True):
        assert made.numpy().tolist() == ROWS[rows].tolist()


def test_rows_are_written_in_the_order_of_the_source(tmp_path):
    sets = [embed_like(part(rows), ROWS[rows]) for rows in PARTS]
    write_embeddings(tmp_path / "f.npz", sets)
    with np.load(tmp_path / "f.npz") as file:
        assert file["ids"].tolist() == IDS
        assert file["features"].dtype == np.float16
        assert file["features"].tolist() == ROWS.tolist()
    write_embeddings(tmp_path / "f.parquet", sets)
    table = pq.read_table(tmp_path / "f.parquet")
    assert table["id"].to_pylist() == IDS
    assert table["features"].to_pylist() == ROWS.tolist()


def test_values_that_half_precision_lacks_are_kept(tmp_path):
    rows = ROWS + np.float32(1e-4)
    write_embeddings(tmp_path / "f.npz", [embed_like(part(list(range(5))), rows)])
    with np.load(tmp_path / "f.npz") as file:
        assert file["features"].tolist() == rows.tolist()


def test_a_file_without_ids_needs_a_single_order(tmp_path):
    arrays = [
        embed_like(part([0, 1], separate(2)), ROWS[:2]),
        embed_like(part([2, 3], separate(2, False)), ROWS[2:4]),
    ]
    with pytest.raises(InputError, match="not all of a source with a single order"):
        write_embeddings(tmp_path / "f.npy", arrays)
    with pytest.raises(InputError, match="not all of a source"):
        write_embeddings(tmp_path / "f.npy", [embed_like(part([0, 1]), ROWS[:2])])
    write_embeddings(tmp_path / "f.npz", arrays)
    with pytest.raises(InputError, match="two examples have the id 'a'"):
        write_embeddings(tmp_path / "f.npz", [embed_like(part([0, 1], ids=["a", "a"]), ROWS[:2])])
    with pytest.raises(InputError, match=r"ends in '.txt'"):
        write_embeddings(tmp_path / "f.txt", arrays)


def embed_like(source, rows):
    from noisylabels.data.features import embedded

    return embedded(source, torch.from_numpy(np.ascontiguousarray(rows)), {"name": "own", "of": "examples"})


@pytest.mark.parametrize("name", ["f.csv", "f.tsv", "f.parquet", "lists.parquet"])
def test_a_file_without_rows_is_one_line(name, tmp_path):
    if name.endswith(".parquet"):
        kind = pa.list_(pa.float32()) if name.startswith("lists") else pa.float32()
        pq.write_table(pa.table({"id": pa.array([], pa.string()), "a": pa.array([], kind)}), tmp_path / name)
    else:
        (tmp_path / name).write_text("id,a\n".replace(",", "\t" if name.endswith("tsv") else ","))
    for read in (
        lambda: read_embeddings(tmp_path / name, [part([0, 1])], lambda _: None),
        lambda: read_probs(tmp_path / name, ("a", "b"), IDS[:2]),
    ):
        with pytest.raises(InputError, match=rf"{name} has no rows; add lines below the heading"):
            read()
