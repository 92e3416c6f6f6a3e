"""An example that is listed twice is read twice, under different ids, with a note; two labels are found."""

import os

import numpy as np
import pytest
from PIL import Image

import noisylabels as nl
from noisylabels.data.catalog import load
from noisylabels.data.corrections import corrected, read_corrections, settled
from noisylabels.data.features import joined

CLASSES = ("ant", "bee")


def listed(root, rows, name="labels.csv"):
    """Write the images and a table of (path, label)."""
    for seed, path in enumerate(sorted({os.path.normpath(path) for path, _ in rows})):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / path, "PNG")
    (root / name).write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in rows))
    return root / name


ROWS = [(f"p/{i}.png", CLASSES[i % 2]) for i in range(10)]


@pytest.mark.parametrize(
    ("extra", "ids", "note"),
    [
        ([ROWS[3]], ["p/3.png#2"], "1 row names an image that an earlier row names, 0 with another label; "),
        (
            [("p/3.png", "ant")],
            ["p/3.png#2"],
            "1 row names an image that an earlier row names, 1 with another",
        ),
        (
            [ROWS[3], ROWS[3]],
            ["p/3.png#2", "p/3.png#3"],
            "2 rows name images that an earlier row names, 0 with",
        ),
        ([("./p/3.png", "ant")], ["./p/3.png"], "first ./p/3.png (line 12) as in line 5; all are read"),
        ([("p//3.png", "bee"), ROWS[0]], ["p//3.png", "p/0.png#2"], "2 rows name images"),
        ([("p/3.png#2", "bee"), ROWS[3]], ["p/3.png#2", "p/3.png#3"], "first p/3.png#3 (line 13)"),
    ],
)
def test_an_image_listed_twice_is_named(extra, ids, note, tmp_path):
    train, test = load(listed(tmp_path, [*ROWS, *extra]))
    whole = joined(train, test)
    assert sorted(whole.ids) == sorted([*(name for name, _ in ROWS), *ids])
    assert any(note in line for line in train.notes)
    by_id = dict(zip(whole.ids, whole.images, strict=True))
    label = dict(zip(whole.ids, whole.labels.tolist(), strict=True))
    for (path, word), name in zip(extra, ids, strict=True):
        if "#" not in path:
            assert (by_id[name] == by_id[os.path.normpath(path)]).all()
        assert CLASSES[label[name]] == word


def test_corrections_of_each_are_read_back(tmp_path):
    whole = joined(*load(listed(tmp_path, [*ROWS, ("p/3.png", "ant")])))
    (tmp_path / "fixed.csv").write_text("id,label\np/3.png,bee\np/3.png#2,\n")
    fixed = corrected(
        whole, settled(read_corrections(tmp_path / "fixed.csv", whole.class_names), whole.ids, tmp_path)
    )
    assert "p/3.png#2" not in fixed.ids
    assert len(fixed) == 10


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_rows_with_the_same_id_are_named(suffix, tmp_path):
    names = ["a", "b", "a", "c", "d", "a", "e", "f"]
    ages, labels = [1, 2, 1, 3, 4, 5, 6, 7], ["ant", "bee", "bee", "ant"] * 2
    path = tmp_path / f"t{suffix}"
    if suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"id": names, "age": ages, "label": labels}), path)
    else:
        mark = "\t" if suffix == ".tsv" else ","
        rows = [("id", "age", "label"), *zip(names, map(str, ages), labels, strict=True)]
        path.write_text("".join(mark.join(row) + "\n" for row in rows))
    train, test = load(path)
    whole = joined(train, test)
    assert sorted(whole.ids) == ["a", "a#2", "a#3", "b", "c", "d", "e", "f"]
    assert any("2 rows have an id that an earlier row has, first a#2 (" in note for note in train.notes)
    assert dict(zip(whole.ids, whole.labels.tolist(), strict=True))["a#2"] == 1


def test_links_to_images_of_the_same_folder_are_named(tmp_path):
    listed(tmp_path / "set", [(f"{CLASSES[i % 2]}/{i}.png", "x") for i in range(10)], "list.txt")
    listed(tmp_path, [("elsewhere.png", "x")], "list.txt")
    for target, link in (("ant/2.png", "bee/link.png"), ("../elsewhere.png", "ant/first.png")):
        os.symlink(tmp_path / "set" / target, tmp_path / "set" / link)
    notes = load(tmp_path / "set")[0].notes
    assert "1 link leads to an image that is read under another name too, first bee/link.png" in notes
    os.symlink(tmp_path / "elsewhere.png", tmp_path / "set" / "bee" / "second.png")
    notes = load(tmp_path / "set")[0].notes
    assert any("2 links lead to images that are read under another name too" in note for note in notes)


def test_two_labels_of_one_image_are_a_finding_of_the_audit(tmp_path):
    import noisylabels as nl

    path = listed(tmp_path, [*ROWS, ("p/3.png", "ant")])
    ids = sorted([*(name for name, _ in ROWS), "p/3.png#2"])
    probs = np.full((11, 2), 0.5)
    (tmp_path / "probs.csv").write_text(
        "id,ant,bee\n" + "".join(f"{name},{p[0]},{p[1]}\n" for name, p in zip(ids, probs, strict=True))
    )
    found = nl.audit_labels(str(path), probs=str(tmp_path / "probs.csv"))
    assert found.summary["duplicates"]["conflicts"]
    conflict = found.summary["duplicates"]["conflicts"][0]
    shown = {found.ids[i] for i in (conflict["members"] if isinstance(conflict, dict) else conflict)}
    assert shown == {"p/3.png", "p/3.png#2"}
    assert dict(zip(found.ids, found.paths, strict=True))["p/3.png#2"] == "p/3.png"


def test_paths_above_the_list_stay_different_ids(tmp_path):
    rows = [(f"{up}a{i}.png", word) for i in range(12) for up, word in (("../", "ant"), ("", "bee"))]
    (tmp_path / "lists").mkdir()
    whole = joined(*load(listed(tmp_path / "lists", rows)))
    assert dict(zip(whole.ids, whole.labels.tolist(), strict=True)) == {n: CLASSES.index(w) for n, w in rows}
    mixed = [*rows[::2], rows[0], *((f"b{i}.png", "bee") for i in range(6))]
    assert {"a0.png", "a0.png#2", "b0.png"} <= set(joined(*load(listed(tmp_path / "lists", mixed))).ids)


def test_trusted_rows_and_exports_match_paths_above_the_list(tmp_path):
    rows = [(f"{up}a{i}.png", word) for i in range(12) for up, word in (("../", "ant"), ("", "bee"))]
    (tmp_path / "lists").mkdir()
    path = listed(tmp_path / "lists", rows)
    lines = path.read_text().splitlines()
    checked = [
        "path,label,checked",
        *(f"{line},{'yes' if k == 1 else 'no'}" for k, line in enumerate(lines[1:])),
    ]
    path.write_text("\n".join(checked) + "\n")
    wrong = np.array([[0.97, 0.03] if word == "bee" else [0.03, 0.97] for _, word in rows])
    found = nl.audit_labels(path, probs=wrong, trusted="checked")
    assert [found.ids[i] for i in np.flatnonzero(found.trusted)] == ["a0.png"]
    fixes = tmp_path / "fixes.csv"
    fixes.write_text("path,label\n../a0.png,bee\n")
    after = nl.audit_labels(path, probs=wrong, labels=fixes)
    changed = np.flatnonzero(after.given != found.given)
    assert [after.ids[i] for i in changed] == ["../a0.png"]


def test_two_labels_of_one_id_are_a_finding_of_the_audit(tmp_path):
    import noisylabels as nl

    ids = [*(f"p{row}" for row in range(12)), "p3"]
    labels = [*(CLASSES[row % 2] for row in range(12)), "ant"]  # p3 is a bee
    ages = np.random.default_rng(0).normal(size=13).tolist()
    lines = [f"{name},{age},{label}" for name, age, label in zip(ids, ages, labels, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["id,age,label", *lines]) + "\n")
    probs = np.full((13, 2), 0.5)
    probs[[3, 12]] = [0.1, 0.9]
    np.save(tmp_path / "p.npy", probs)
    found = nl.audit_labels(tmp_path / "t.csv", probs=tmp_path / "p.npy", out=tmp_path / "a")
    assert any("all are read, 1 with another label than the first row of the id" in n for n in found.notes)
    (conflict,) = found.summary["duplicates"]["conflicts"]
    assert conflict == {"members": [3, 12], "exact": True, "ids": ["p3", "p3#2"]}
    assert found.flagged[12]
    assert not found.flagged[3]
    assert found.why[12] == "same id as p3, labeled bee"
    assert '"id":true' in (tmp_path / "a/page.html").read_text()


def test_rows_of_one_id_that_agree_are_no_finding():
    from noisylabels.audit.duplicates import Group, with_same_ids

    ids, labels = ["a", *map(str, range(9)), "a#2", "b#2"], np.zeros(12, int)
    assert with_same_ids([], ids, labels) == []
    labels[10] = 1
    assert with_same_ids([], ids, labels) == [Group((0, 10), True)]
    assert with_same_ids([Group((10, 11), False)], ids, labels) == [Group((0, 10, 11), False)]
    assert with_same_ids([], [*ids[:4], "a#2", "a#3"], np.arange(6)) == []  # ids do not identify the rows


def test_a_path_that_may_be_two_files_is_not_shown(tmp_path):
    from noisylabels.audit.image_paths import image_paths

    folder = tmp_path / "list"
    folder.mkdir()
    for path in (tmp_path / "a.png", folder / "a.png", folder / "b.png"):
        path.write_bytes(b"x")
    data = str(folder / "list.csv")
    assert image_paths(data, ["a.png", "b.png", "../a.png", "c.png"]) == [None, "b.png", None, None]
    assert image_paths(str(folder), ["a.png", "b.png#2"]) == ["a.png", "b.png"]


def test_an_image_that_is_twice_in_a_list_in_memory_is_named(tmp_path):
    listed(tmp_path, ROWS)
    paths = [str(tmp_path / path) for path, _ in ROWS]
    train, _ = nl.load(([*paths, f"{tmp_path}/p//3.png"], [*(label for _, label in ROWS), "ant"]))
    note = f"1 row names an image that an earlier row names, 1 with another label; first {tmp_path}/p//3.png"
    assert f"{note} (row 10) as in row 3; all are read" in train.notes
