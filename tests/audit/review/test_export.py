"""Corrected labels in each format, read back by the data readers."""

from __future__ import annotations

import csv
import decimal
import json
import os
import shlex
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noisylabels.audit.review.export import export
from noisylabels.audit.review.session import Session
from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.core.delimited import without_formula
from noisylabels.data.catalog import load
from noisylabels.data.corrections import read_corrections, settled
from noisylabels.data.features import joined, subset_of

CHANGED, LEFT_OUT = 1, 2  # of the examples: one is labeled anew, one discarded, one kept, one skipped


def reviewed(folder: Path) -> Session:
    """Return a review with four decisions."""
    session = Session(folder)
    for event, (place, action, label) in enumerate(
        [(0, "keep", None), (CHANGED, "chosen", 0), (LEFT_OUT, "discard", None), (3, "skip", None)]
    ):
        session.decide(f"event-{event}", place, action, label)
    return session


def labels_of(source: Path) -> dict[str, str]:
    """Return what the library reads: id -> class, of both parts."""
    whole = joined(*load(source))
    return {name: whole.class_names[k] for name, k in zip(whole.ids, whole.labels.tolist(), strict=True)}


@pytest.fixture
def audited(audit, tmp_path) -> Callable[..., Path]:
    """Return a function that writes a synthetic audit of the data at a path."""

    def make(source: Path, paths: bool = True, **options: Any) -> Path:
        whole = joined(*load(source))
        order = np.argsort(whole.ids)  # any but that of the data
        options = {"digest": subset_of(whole, order).digest} | options
        ids, given = [whole.ids[i] for i in order], whole.labels[order].tolist()
        made = audit(ids, given, whole.class_names, source.resolve(), paths=paths, **options)
        return made.save(tmp_path / "audit")

    return make


def expected(before: dict[str, str], ids: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
    after = {**before, ids[CHANGED]: classes[0]}
    del after[ids[LEFT_OUT]]
    return after


# A table of ids and labels ------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_ids_and_labels(photos, tmp_path, suffix, capsys):
    folder = photos(8, classes=("b,i\"r'd", "=cat()", "dög\n"), flagged=8)
    session = reviewed(folder)
    ids, classes = session.audit.ids, session.audit.class_names
    session.store.close()
    target = tmp_path / f"corrected{suffix}"
    assert main(["review", str(folder), "--export", str(target)]) == 0
    said, following = capsys.readouterr().out.splitlines()
    assert said == f"{target}: 7 labels, 1 of them corrected, 1 left out"
    assert following.startswith("next: noisylabels train --data ")
    assert following.endswith(f" --labels {shlex.quote(str(target))}")
    if suffix == ".parquet":
        rows = pq.read_table(target).to_pylist()
    else:
        with target.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t" if suffix == ".tsv" else ","))
    wanted = [classes[i % 3] for i in range(8)]
    wanted[CHANGED] = classes[0]
    wanted[LEFT_OUT] = None if suffix == ".parquet" else ""
    assert rows == [{"id": name, "label": label} for name, label in zip(ids, wanted, strict=True)]
    # an existing file is overwritten only with --overwrite
    assert main(["review", str(folder), "--export", str(target)]) == 2
    assert "already exists; choose another, or replace it with --overwrite" in capsys.readouterr().err
    assert main(["review", str(folder), "--export", str(target), "--overwrite"]) == 0


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_training_reads_them_again(photos, tmp_path, suffix):
    from noisylabels.data.corrections import read_corrections

    names = ['it\'s "q", ü.png', "a;b\tc.png", " two  spaces.png", "..x..png"]
    session = reviewed(photos(8, classes=("b,i\"r'd", "=cat()", "dög"), names=names, flagged=8))
    export(session, tmp_path / f"labels{suffix}")
    found = read_corrections(tmp_path / f"labels{suffix}", session.audit.class_names).labels
    wanted = dict(zip(session.audit.ids, session.audit.given.tolist(), strict=True))
    wanted[session.audit.ids[CHANGED]] = 0
    wanted[session.audit.ids[LEFT_OUT]] = -1  # to be left out
    assert found == wanted
    session.store.close()


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_odd_names_are_read_again_as_they_were(photos, tmp_path, suffix):
    names = ['a"b.png', "c\rd.png", "e\nf.png", "g,h\ti.png", "=1+1.png", " j.png"]
    session = Session(photos(len(names), classes=(" cat ", "=dog"), names=names))
    export(session, tmp_path / f"t.{suffix}")
    found = read_corrections(tmp_path / f"t.{suffix}", session.audit.class_names)
    wanted = dict(zip(session.audit.ids, session.audit.given.tolist(), strict=True))
    assert settled(found, session.audit.ids) == wanted


@pytest.mark.parametrize(("suffix", "comma"), [("csv", ","), ("tsv", "\t")])
def test_formulas_are_escaped_on_request(photos, tmp_path, suffix, comma):
    names = ["=1+1.png", "-a.png", "b.png"]
    folder = photos(len(names), classes=("=dog", "-1"), names=names)
    rows = {}
    for flags in ([], ["--escape-formulas"]):
        target = tmp_path / f"t{len(flags)}.{suffix}"
        assert main(["review", str(folder), "--export", str(target), *flags]) == 0
        with target.open(newline="") as file:
            rows[len(flags)] = list(csv.reader(file, delimiter=comma))
    assert {row[1] for row in rows[0][1:]} == {"=dog", "-1"}
    escape = {"=dog": "'=dog"}
    assert rows[1] == [[without_formula(name), escape.get(label, label)] for name, label in rows[0]]
    assert any(name.startswith("'=dog/") for name, _ in rows[1])


def test_formulas_are_escaped_in_labels_alone(photos, tmp_path):
    session = Session(photos(4))
    for target in ("t.parquet", "new"):
        with pytest.raises(InputError, match=r"escape-formulas is for labels in a .csv or .tsv"):
            export(session, tmp_path / target, escape_formulas=True)


def test_without_decisions_all_labels_are_as_they_were(photos, tmp_path):
    session = Session(photos(6))
    done = export(session, tmp_path / "labels.csv")
    assert (done.labels, done.changed, done.left_out, done.notes) == (6, 0, 0, [])
    session.store.close()
    session = Session(photos(6, noise="symmetric:0.2"))
    assert "added the noise 'symmetric:0.2'" in export(session, tmp_path / "noisy.csv").notes[0]
    session.store.close()


# The data's format --------------------------------------------------------------------------------


def tree(root: Path, names: Sequence[str]) -> Path:
    from PIL import Image

    for number, name in enumerate(names):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 6), (number * 7 % 256, number, 99)).save(file)
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


@pytest.mark.parametrize("parts", [("",), ("train/", "test/")])
def test_a_folder_becomes_a_new_folder(audited, tmp_path, parts, capsys):
    names = [
        f'{part}{name}/{i} it\'s "q" ..é.png'
        for part in parts
        for name in ("ant", "bee", "cat")
        for i in range(5)
    ]
    root = tree(tmp_path / "photos", [*names, *(f"{part}bee/deep/0.png" for part in parts)])
    for part in parts:
        (root / f"{part}empty").mkdir()
    others = [f"{parts[0]}ant/raw.heic", "notes.txt"]  # what the audit does not read stays with the images
    for name in others:
        (root / name).write_text(name)
    before, order = contents(root), sorted(labels_of(root))
    folder = audited(root)
    session = Session(folder)
    bees = [session.audit.ids.index(name) for name in order if "bee/" in name]
    for event, place in enumerate(bees[:2]):
        session.decide(f"event-{event}", place, "chosen", 0)  # ant/ has images of those names
    session.decide("event-9", bees[2], "discard")
    moved, gone = [order[k] for k in bees[:2]], order[bees[2]]
    session.store.close()
    out = tmp_path / "corrected"
    assert main(["review", str(folder), "--export", str(out)]) == 0
    said = capsys.readouterr()
    assert f"{out}: {len(order) - 1} labels, 2 of them corrected, 1 left out" in said.out
    assert contents(root) == before  # never touched
    after = contents(out)
    assert len(after) == len(before) - 1
    for name in moved:
        stem, _, suffix = name.replace("bee/", "ant/").rpartition(".")
        there = [
            new for new in (f"{stem}.{suffix}", f"{stem}-from-bee.{suffix}") if after.get(new) == before[name]
        ]
        assert len(there) == 1, name
    assert before[gone] not in after.values()
    assert "2 other files are copied as they are" in said.err
    same = {*order, *others} - {*moved, gone}
    assert all(after[name] == before[name] for name in same)
    counted = {}
    for label in labels_of(out).values():
        counted[label] = counted.get(label, 0) + 1
    p = len(parts)
    assert counted == {"ant": 5 * p + 2, "bee": 6 * p - 3, "cat": 5 * p}
    assert load(out)[0].class_names == ("ant", "bee", "cat", "empty")
    assert "images were renamed" in said.err
    kept = next(iter(same))
    assert os.path.samefile(out / kept, root / kept)  # linked: no byte is there twice
    assert main(["review", str(folder), "--export", str(out), "--overwrite"]) == 2
    assert "folders are not overwritten" in capsys.readouterr().err
    assert contents(out) == after


def test_an_export_never_goes_into_the_data(audited, tmp_path, capsys):
    root = tree(tmp_path / "photos", [f"{name}/{i}.png" for name in ("ant", "bee") for i in range(5)])
    folder = audited(root)
    before = contents(root)
    for target in (
        root,
        root / "new",
        root / "ant" / "labels.csv",
        tmp_path / "audit" / ".." / "photos" / "x",
    ):
        assert main(["review", str(folder), "--export", str(target)]) == 2
        assert "which is never changed" in capsys.readouterr().err
    assert contents(root) == before


TABLE = """\ufeffName;FILE;note;Label;split\r
one;"img/a ""1"".png";"two\r
lines; quoted";ant;train\r
\r
two;img/b.png;;bee ;train\r
three; img/c.png ;=x;ant;train\r
four;../outside.png;;bee;train\r
five;img/e.png;;ant;val\r
six;img/f.png;last;bee;test\r
"""


def test_a_table_keeps_all_but_the_labels(audited, tmp_path):
    root = tmp_path / "photos"
    tree(root, ['img/a "1".png', "img/b.png", "img/c.png", "../outside.png", "img/e.png", "img/f.png"])
    table = root / "list.csv"
    table.write_bytes(TABLE.encode())
    folder = audited(table)
    session = reviewed(folder)
    ids, classes = session.audit.ids, session.audit.class_names
    assert ids == ['img/a "1".png', "img/b.png", "img/c.png", "img/f.png", "outside.png"]
    done = export(session, root / "fixed.csv", "input")
    assert (done.changed, done.left_out, done.notes) == (1, 1, [])
    lines = TABLE.splitlines(keepends=True)
    lines[4] = "two;img/b.png;;ant;train\r\n"  # CHANGED
    del lines[5]  # LEFT_OUT
    assert (root / "fixed.csv").read_bytes().decode() == "".join(lines)  # the rest to the letter
    assert labels_of(root / "fixed.csv") == expected(labels_of(table), ids, classes)
    elsewhere = export(session, tmp_path / "fixed.csv", "input")
    assert "move it there" in elsewhere.notes[0]
    with pytest.raises(InputError, match=r"\.csv"):
        export(session, root / "fixed.tsv", "input")
    with pytest.raises(InputError, match="which is never changed"):
        export(session, table, "input", overwrite=True)
    session.store.close()


def test_a_table_of_numbers(audited, tmp_path):
    root = tree(tmp_path / "photos", [f"{i}.png" for i in range(6)])
    (root / "t.tsv").write_text("path\tlabel\n" + "".join(f"{i}.png\t{i % 2}.0\n" for i in range(6)))
    session = reviewed(audited(root / "t.tsv"))
    export(session, root / "new.tsv", "input")
    assert (root / "new.tsv").read_text().splitlines()[1:] == [
        "0.png\t0.0", "1.png\t0.0", "3.png\t1.0", "4.png\t0.0", "5.png\t1.0"
    ]  # fmt: skip
    session.store.close()


def parquet(root: Path, names: dict[str, int], classes: Sequence[str]) -> None:
    import io

    from PIL import Image

    features = {
        "img": {"_type": "Image"},
        "label": {"names": list(classes), "_type": "ClassLabel"},
        "more": {"dtype": "string", "_type": "Value"},
    }
    for name, count in names.items():
        rows: dict[str, list[Any]] = {"img": [], "label": [], "more": []}
        for i in range(count):
            buffer = io.BytesIO()
            Image.new("RGB", (5, 5), (i, len(name), 7)).save(buffer, "PNG")
            rows["img"].append({"bytes": buffer.getvalue(), "path": None})
            rows["label"].append(i % len(classes))
            rows["more"].append(f"{name} {i}")
        table = pa.table(rows)
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, root / name, row_group_size=4, compression="zstd")


def test_parquet_files_are_streamed_with_another_column(audited, tmp_path):
    root = tmp_path / "set"
    files = {"data/train-00000-of-00002.parquet": 9, "data/train-00001-of-00002.parquet": 6,
             "data/test-00000-of-00001.parquet": 5, "data/extra-00000-of-00001.parquet": 3}  # fmt: skip
    parquet(root, files, ("ant", "bee", "cat"))
    folder = audited(root, paths=False)
    session = Session(folder)
    ids = session.audit.ids
    # rows of the second file continue the numbering of the first
    session.decide("event-1", ids.index("train:10"), "chosen", 2)
    session.decide("event-2", ids.index("test:0"), "chosen", 1)
    session.decide("event-3", ids.index("train:3"), "discard")
    export(session, tmp_path / "new")
    for name, count in files.items():
        old, new = pq.read_table(root / name), pq.read_table(tmp_path / "new" / name)
        assert new.schema.equals(old.schema, check_metadata=True)
        wanted = old.to_pylist()
        if "train-00000" in name:
            del wanted[3]
        if "train-00001" in name:
            wanted[1]["label"] = 2
        if "test-" in name:
            wanted[0]["label"] = 1
        assert new.to_pylist() == wanted
        meta = pq.ParquetFile(tmp_path / "new" / name).metadata
        assert meta.num_row_groups == -(-count // 4)
        assert meta.row_group(0).column(0).compression == "ZSTD"
    before, after = labels_of(root), labels_of(tmp_path / "new")
    assert after["test:0"] == "bee"
    assert len(after) == len(before) - 1
    session.store.close()


def test_one_parquet_file(audited, tmp_path):
    parquet(tmp_path, {"mine.parquet": 12}, ("ant", "bee"))
    session = reviewed(audited(tmp_path / "mine.parquet", paths=False))
    ids = session.audit.ids
    export(session, tmp_path / "new.parquet", "input")
    wanted = pq.read_table(tmp_path / "mine.parquet").to_pylist()
    wanted[int(ids[CHANGED].split(":")[1])]["label"] = 0
    del wanted[int(ids[LEFT_OUT].split(":")[1])]
    assert pq.read_table(tmp_path / "new.parquet").to_pylist() == wanted
    session.store.close()


@pytest.mark.parametrize(("save", "column"), [(np.savez, False), (np.savez_compressed, True)])
def test_an_archive_of_arrays(audited, tmp_path, save, column):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (20, 6, 6), dtype=np.uint8), (np.arange(20) % 3).astype(np.uint8)
    shape = (-1, 1) if column else (-1,)
    arrays = {
        "x_train": x[:14],
        "y_train": y[:14].reshape(shape),
        "x_test": x[14:],
        "y_test": y[14:].reshape(shape),
    }
    save(tmp_path / "set.npz", **arrays, class_names=np.array(["ant", "bee", "cat"]), other=np.eye(2))
    with zipfile.ZipFile(tmp_path / "set.npz", "a") as archive, archive.open("file.npy", "w") as stream:
        np.save(stream, np.arange(3))  # np.savez takes no array of this name
    session = Session(audited(tmp_path / "set.npz", paths=False))
    ids = session.audit.ids
    session.decide("event-1", ids.index("test:1"), "chosen", 0)
    session.decide("event-2", ids.index("train:5"), "discard")
    export(session, tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as new:
        assert set(new.files) == {*arrays, "class_names", "other", "file"}
        assert new["file"].tolist() == [0, 1, 2]
        wanted = arrays["y_test"].copy()
        wanted[1] = 0
        assert (new["y_test"] == wanted).all()
        assert new["y_test"].dtype == np.uint8
        assert (new["x_test"] == arrays["x_test"]).all()
        assert (new["x_train"] == np.delete(arrays["x_train"], 5, 0)).all()
        assert (new["y_train"] == np.delete(arrays["y_train"], 5, 0)).all()
    with zipfile.ZipFile(tmp_path / "set.npz") as old, zipfile.ZipFile(tmp_path / "new.npz") as archive:
        types = [{e.filename: e.compress_type for e in each.infolist()} for each in (old, archive)]
        assert types[0] == types[1]
    session.store.close()


@pytest.mark.parametrize("key", ["", "ID"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("words", [True, False])
def test_a_table_of_numbers_with_labels(audited, tmp_path, suffix, key, words):
    rng = np.random.default_rng(0)
    classes = ["ant", 'bee, "b"', "cat"] if words else [1, 2, 7]
    rows: dict[str, list[Any]] = {
        "x": rng.normal(size=30).round(3).tolist(),
        "Class": [],
        "z": list(range(30)),
    }
    rows["Class"] = [classes[i % 3] for i in range(30)]
    if key:
        rows = {key: [f"n{i:02d}" for i in range(30)], **rows}
    source, target = tmp_path / f"rows{suffix}", tmp_path / f"new{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table(rows), source, row_group_size=7)
    else:
        with source.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="," if suffix == ".csv" else "\t")
            writer.writerows([list(rows), *zip(*rows.values(), strict=True)])
    session = reviewed(audited(source, paths=False))
    ids = session.audit.ids
    done = export(session, target, "input")
    assert (done.labels, done.changed, done.left_out, done.notes) == (29, 1, 1, [])
    assert not done.notes
    before, after = labels_of(source), labels_of(target)
    place = {name: int(name[1:] if key else name.split(":")[1]) for name in ids}
    if key:
        assert after == expected(before, ids, session.audit.class_names)
    if suffix == ".parquet":
        old, new = pq.read_table(source).to_pylist(), pq.read_table(target).to_pylist()
    else:
        old, new = source.read_text().splitlines()[1:], target.read_text().splitlines()[1:]
    left_out, changed = place[ids[LEFT_OUT]], place[ids[CHANGED]]
    assert len(new) == 29
    new.insert(left_out, old[left_out])
    assert [row for row in range(30) if new[row] != old[row]] == [changed]
    if suffix == ".parquet":
        assert new[changed] == {**old[changed], "Class": classes[0]}
    session.store.close()


@pytest.mark.parametrize("words", [True, False])
def test_arrays_of_numbers(audited, tmp_path, words):
    x = np.random.default_rng(0).normal(size=(24, 3))
    y = np.array(["an elephant", "b", "c"] if words else [3, 5, 8])[np.arange(24) % 3]
    np.savez(tmp_path / "set.npz", X=x, y=y)
    session = reviewed(audited(tmp_path / "set.npz", paths=False))
    ids, classes = session.audit.ids, session.audit.class_names
    export(session, tmp_path / "new.npz")
    left_out, changed = (int(ids[k].split(":")[1]) for k in (LEFT_OUT, CHANGED))
    wanted = y.copy()
    wanted[changed] = classes[0] if words else int(classes[0])
    with np.load(tmp_path / "new.npz") as new:
        assert (new["y"] == np.delete(wanted, left_out)).all()
        assert (new["X"] == np.delete(x, left_out, 0)).all()
    session.store.close()


def test_every_array_of_one_value_per_example_loses_a_discarded_row(audited, tmp_path):
    n = 24
    arrays = {"X": np.random.default_rng(0).normal(size=(n, 3)), "y": np.arange(n) % 3}
    arrays |= {"id": np.array([f"p{row:02d}" for row in range(n)]), "w": np.arange(n), "pair": np.eye(n)}
    others = {"scale": np.float64(2), "means": np.zeros(3), "X_test": np.zeros((n, 3))}
    np.savez(tmp_path / "set.npz", **arrays, **others)
    session = Session(audited(tmp_path / "set.npz", paths=False))
    session.decide("event-1", session.audit.ids.index("p07"), "discard")
    done = export(session, tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as new:
        for name, values in arrays.items():
            assert np.array_equal(new[name], np.delete(values, 7, 0)), name
        for name, values in others.items():
            assert np.array_equal(new[name], values), name
    unchanged = "arrays without one value per example of a part are unchanged: scale, means, X_test"
    assert unchanged in done.notes
    assert "p07" not in load(tmp_path / "new.npz")[0].ids
    session.store.close()


def test_a_part_without_discarded_rows_keeps_its_arrays(audited, tmp_path):
    x, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    parts = {"X_train": x, "y_train": y, "X_test": x, "y_test": y}
    np.savez(tmp_path / "set.npz", **parts, w_train=np.arange(20), w_test=np.arange(20), w=np.arange(20))
    session = Session(audited(tmp_path / "set.npz", paths=False))
    session.decide("event-1", session.audit.ids.index("test:3"), "discard")
    done = export(session, tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as new:
        sizes = {name: len(new[name]) for name in new.files}
        assert sizes == {**dict.fromkeys(sizes, 20), "X_test": 19, "y_test": 19, "w_test": 19}
        assert 3 not in new["w_test"]
    assert done.notes == ["arrays without one value per example of a part are unchanged: w"]
    session.store.close()


def test_data_without_files_are_exported_as_labels_only(audit, photos, tmp_path, capsys):
    folder = audit(["a", "b"], [0, 1], ("ant", "bee"), "digits", paths=False).save(tmp_path / "audit")
    assert main(["review", str(folder), "--export", str(tmp_path / "new")]) == 2
    assert "the audited data are digits, which cannot be written as files" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert main(["review", str(folder), "--export", str(tmp_path / "x.txt"), "--form", "labels"]) == 2
    assert "expected .csv, .tsv, .parquet" in capsys.readouterr().err


def test_changed_data_are_not_exported(photos, tmp_path, capsys):
    folder = photos(9)
    (folder.parent / "photos" / "cat" / "00001.png").unlink()
    assert main(["review", str(folder), "--export", str(tmp_path / "new")]) == 2
    assert "1 of 9 examples are missing, first 'cat/00001.png'" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".new")]


def set_of(path: Path, order: Sequence[int], ids: bool) -> dict[str, list[Any]]:
    """Write 12 rows in an order, by the suffix of a path, and return what can be edited."""
    rows: dict[str, list[Any]] = {
        **({"id": [f"n{k:02d}" for k in order]} if ids else {}),
        "x": [k / 7 for k in order],
        "label": [("ant", "bee", "cat")[k % 3] for k in order],
    }
    write_rows(path, rows)
    return rows


def write_rows(path: Path, rows: dict[str, list[Any]]) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.table(rows), path, row_group_size=5)
    elif path.suffix == ".npz":
        names = {"x": "X", "label": "y"}
        arrays = {names.get(name, name): np.array(values) for name, values in rows.items()}
        np.savez(path, **{**arrays, "X": arrays["X"][:, None]})
    else:
        cells = [list(rows), *map(list, zip(*rows.values(), strict=True))]
        path.write_text("".join(",".join(map(str, row)) + "\n" for row in cells))


@pytest.mark.parametrize("form", ["labels", "input"])
@pytest.mark.parametrize("how", [{}, {"labels": "corrected.csv"}, {"noise": "symmetric:0.3"}])
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_rows_without_ids_that_moved_are_not_exported(audited, tmp_path, suffix, how, form):
    source = tmp_path / f"rows{suffix}"
    set_of(source, range(12), ids=False)
    session = reviewed(audited(source, paths=False, **how))
    target = tmp_path / (f"new{suffix}" if form == "input" else "new.csv")
    export(session, target, form)  # a file of corrected labels may be gone
    set_of(source, [*range(3, 12), 0, 1, 2], ids=False)  # the same labels in each row
    with pytest.raises(InputError, match="has changed since it was audited"):
        export(session, target, form, overwrite=True)
    session.store.close()


def test_rows_without_ids_of_lost_data_are_exported_as_labels(audited, tmp_path):
    set_of(tmp_path / "rows.csv", range(12), ids=False)
    session = reviewed(audited(tmp_path / "rows.csv", paths=False))
    (tmp_path / "rows.csv").unlink()
    assert export(session, tmp_path / "new.csv").labels == 11
    session.store.close()


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_rows_with_ids_may_move_but_a_label_edited_since_is_not_put_back(audited, tmp_path, suffix):
    source = tmp_path / f"rows{suffix}"
    set_of(source, range(12), ids=True)
    folder = audited(source, paths=False)
    session = reviewed(folder)
    rows = set_of(source, range(11, -1, -1), ids=True)
    export(session, tmp_path / f"new{suffix}", "input")
    before = labels_of(source)
    assert labels_of(tmp_path / f"new{suffix}") == {
        name: "ant" if name == "n01" else label for name, label in before.items() if name != "n02"
    }
    rows["label"][0] = "ant"  # of n11, which was a cat and is not decided on
    write_rows(source, rows)
    said = "1 of 12 examples have another label, first 'n11' with 'ant', audited as 'cat'"
    with pytest.raises(InputError, match=said):
        export(session, tmp_path / f"other{suffix}", "input")
    assert not (tmp_path / f"other{suffix}").exists()
    session.store.close()


def test_each_row_of_a_file_named_twice_has_its_own_label(audited, tmp_path):
    root = tree(tmp_path / "photos", ["a.png", "b.png", "c.png"])
    rows = ["a.png,ant", "a.png,bee", "b.png,bee", "c.png,ant"]
    (root / "t.csv").write_text("path,label\n" + "".join(f"{row}\n" for row in rows))
    session = Session(audited(root / "t.csv"))
    assert session.audit.ids == ["a.png", "a.png#2", "b.png", "c.png"]
    session.decide("event-1", 1, "chosen", 0)
    export(session, root / "one.csv", "input")
    assert (root / "one.csv").read_text() == "path,label\na.png,ant\na.png,ant\nb.png,bee\nc.png,ant\n"
    session.decide("event-2", 0, "discard", None)
    export(session, root / "two.csv", "input")
    assert (root / "two.csv").read_text() == "path,label\na.png,ant\nb.png,bee\nc.png,ant\n"
    export(session, root / "ids.csv", "labels")
    whole = joined(*load(root / "t.csv"))
    labels = settled(read_corrections(root / "ids.csv", whole.class_names), whole.ids, root)
    assert labels == {"a.png": -1, "a.png#2": 0, "b.png": 1, "c.png": 0}
    session.store.close()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_each_row_with_the_same_id_has_its_own_label(audited, tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    names, labels = ["a", "b", "a", "c"], ["ant", "bee", "bee", "ant"]
    if suffix == ".parquet":
        pq.write_table(pa.table({"id": names, "x": [1.5, 2, 3, 4], "label": labels}), path)
    else:
        rows = zip(names, "1234", labels, strict=True)
        path.write_text("id,x,label\n" + "".join(",".join(row) + "\n" for row in rows))
    session = Session(audited(path, paths=False))
    session.decide("event-1", session.audit.ids.index("a#2"), "chosen", 0)
    export(session, tmp_path / f"new{suffix}", "input")
    assert labels_of(tmp_path / f"new{suffix}") == {"a": "ant", "b": "bee", "a#2": "ant", "c": "ant"}
    session.store.close()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_that_are_not_read_are_copied(audited, tmp_path, save):
    x, y = np.random.default_rng(0).normal(size=(24, 3)), np.arange(24) % 3
    save(tmp_path / "set.npz", X=x, y=y, meta=np.array({"made": "by us"}, dtype=object))
    with zipfile.ZipFile(tmp_path / "set.npz", "a") as archive:
        archive.writestr("README.txt", "about")
    session = reviewed(audited(tmp_path / "set.npz", paths=False))
    done = export(session, tmp_path / "new.npz")
    assert "arrays that are not read are copied as they are: meta, README.txt" in done.notes
    names = {}
    for name in ("set.npz", "new.npz"):
        with zipfile.ZipFile(tmp_path / name) as archive:
            names[name] = set(archive.namelist())
            assert archive.read("README.txt") == b"about"
            assert b"by us" in archive.read("meta.npy")
    assert names["new.npz"] == names["set.npz"]
    assert len(np.load(tmp_path / "new.npz")["y"]) == 23
    session.store.close()


KEYS = {
    "decimal": pa.array([decimal.Decimal(100 + row) for row in range(24)]),
    "large decimal": pa.array([decimal.Decimal(10**18 + row) for row in range(24)], pa.decimal128(38, 0)),
    "category": pa.array([f"p{row}" for row in range(24)]).dictionary_encode(),
    "floats": pa.array([row + 0.0 for row in range(24)]),
    "integers": pa.array([2**62 + row for row in range(24)]),
}


@pytest.mark.parametrize("key", KEYS)
def test_ids_of_any_type_in_parquet_are_found_again(audited, tmp_path, key):
    x = np.random.default_rng(0).normal(size=24)
    labels = pa.array(["u", "v", "w"] * 8)
    pq.write_table(pa.table({"id": KEYS[key], "x": x, "label": labels}), tmp_path / "set.parquet")
    session = reviewed(audited(tmp_path / "set.parquet", paths=False))
    left_out = session.audit.ids[LEFT_OUT]
    export(session, tmp_path / "new.parquet", "input")
    ids = [name for part in load(tmp_path / "new.parquet") for name in part.ids]
    assert sorted(ids) == sorted(set(session.audit.ids) - {left_out})
    session.store.close()
