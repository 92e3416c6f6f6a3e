"""Rows of files, ids and probabilities belong to the same examples, in every form of data."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import noisylabels as nl
from data_forms import FILES, FORMS, Made, pictures_of
from noisylabels.audit.audited_data import load_examples
from noisylabels.audit.result import Audit
from noisylabels.audit.running import audit_labels
from noisylabels.core.checks import InputError
from noisylabels.data.features import joined, subset_of
from noisylabels.experiment.reporter import Notes, Silent

WORDS = [str(word) for word in np.random.default_rng(3).choice(["cat", "dog", "fox"], 40)]
WRITTEN = ("npy", "csv", "parquet", "ids.csv", "ids.parquet", "index.csv")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NOISYLABELS_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def one_hot(labels: list[Any], names: list[str] | None = None) -> tuple[np.ndarray, list[str]]:
    """Return probabilities .9 of the given labels, and the names of the classes."""
    words = [str(label) for label in labels]
    names = sorted(set(words)) if names is None else names
    probs = np.full((len(words), len(names)), 0.1 / (len(names) - 1))
    probs[np.arange(len(words)), [names.index(word) for word in words]] = 0.9
    return probs, names


def write(probs: np.ndarray, names: list[str], ids: list[str], form: str) -> str:
    """Write probabilities and return the path; rows with ids are shuffled."""
    path = f"probs.{form}"
    if form == "npy":
        np.save(path, probs)
        return path
    frame = pd.DataFrame(probs, columns=names)
    if "." in form:
        key = form.split(".")[0].removesuffix("s")
        frame.insert(1, key, ids if key == "id" else np.arange(len(ids)))
        frame = frame.sample(frac=1, random_state=5)
    if path.endswith("csv"):
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    return path


def make(form: str, folder: Path, labels: list[Any] = WORDS) -> tuple[Made, Any]:
    """Return examples in one form, and what `audit_labels` takes of them."""
    made = FORMS[form](folder, labels)
    return made, made.source


def check_labels(folder: str | Path, made: Made) -> None:
    """Check id and label of each row of labels.csv against the file that it was read from."""
    with Path(folder, "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["index"]) for row in rows) == list(range(len(made.labels)))
    for row in rows:
        assert row["id"] == made.ids[int(row["index"])]
        assert row["given"] == str(made.labels[int(row["index"])])


def test_all_forms_are_covered() -> None:
    assert len(FORMS) == 16
    assert set(FILES) <= set(FORMS)


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("form", FORMS)
def test_probabilities_of_the_given_labels_flag_nothing(tmp_path: Path, form: str, written: str) -> None:
    made, source = make(form, tmp_path)
    probs, names = one_hot(made.labels)
    found = audit_labels(source, probs=write(probs, names, made.ids, written), out="a")
    assert found.summary["agreement"] == 1
    assert not found.flagged.any()
    assert found.summary["rate"]["low"] == 0
    assert found.summary["rate"]["estimate"] < 0.03  # of 40 labels
    check_labels("a", made)


@pytest.mark.parametrize("form", FORMS)
def test_probabilities_of_an_audit_give_the_same_audit(tmp_path: Path, form: str) -> None:
    made, source = make(form, tmp_path)
    rng = np.random.default_rng(0)
    probs, names = one_hot(made.labels)
    probs = 0.5 * probs + 0.5 * rng.dirichlet(np.ones(len(names)), len(probs))
    probs[::5] = np.roll(probs[::5], 1, axis=1)
    first = audit_labels(source, probs=write(probs, names, made.ids, "ids.csv"), out="a")
    assert first.flagged.any()
    stored = pd.read_parquet("a/probs.parquet")
    assert list(stored.columns) == ["id", "index", *names]
    assert stored["id"].tolist() == made.ids
    np.testing.assert_allclose(stored[names].to_numpy(), probs, atol=1e-7)
    same_audit(first, audit_labels(source, probs="a/probs.parquet", out="b"))
    same_audit(first, Audit.load("a"))


def same_audit(first: Audit, second: Audit) -> None:
    """Check that two audits found the same."""
    for name in ("index", "flagged", "suggested", "score", "given"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    for name in ("rate", "transition", "pairs", "flagged", "duplicates", "agreement"):
        assert first.summary[name] == second.summary[name]
    assert list(first.why) == list(second.why)


QUICK = {"model": "mlp", "width": 0.2, "epochs": 3, "folds": 2, "device": "cpu"}


def test_probabilities_of_trained_models_give_the_same_audit(tmp_path: Path) -> None:
    made, source = make("csv", tmp_path)
    first = audit_labels(source, out="a", **QUICK)
    stored = pd.read_parquet("a/probs.parquet")
    np.testing.assert_array_equal(stored[["cat", "dog", "fox"]].to_numpy(), first.out_of_fold)
    assert not np.array_equal(first.out_of_fold, first.probs)  # out of fold alone, not blended
    same_audit(first, audit_labels(source, probs="a/probs.parquet", out="b"))
    loaded = Audit.load("a")
    same_audit(first, loaded)
    np.testing.assert_array_equal(loaded.probs, first.probs)
    assert loaded.neighbors == first.neighbors
    check_labels("a", made)

    Path("a/probs.parquet").rename("alone.parquet")
    notes: list[str] = []
    again = audit_labels(source, probs="alone.parquet", reporter=Notes(notes.append))
    assert len(again) == 40
    assert any("seen.parquet, which belongs to it, is missing" in note for note in notes)


def test_a_class_called_as_a_key_column_is_a_class(tmp_path: Path) -> None:
    labels = ["id", "index", "id_"] * 8
    made = FORMS["csv"](tmp_path, labels)
    probs, names = one_hot(labels)
    np.save("p.npy", probs)
    first = audit_labels(made.source, probs="p.npy", out="a")
    assert list(pd.read_parquet("a/probs.parquet").columns) == ["id__", "index_", *names]
    same_audit(first, audit_labels(made.source, probs="a/probs.parquet"))
    assert not first.flagged.any()


def test_rows_may_have_gaps(tmp_path: Path) -> None:
    """Check a split column with a validation part, which is not audited, and the training part alone."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(40, 2)).round(3), columns=["u", "v"])
    frame["split"] = ["test", "train", "val", "train"] * 10
    frame["label"] = WORDS
    frame.to_csv("t.csv", index=False)
    probs, _ = one_hot(WORDS)
    for part, kept in (("all", frame.split != "val"), ("train", frame.split == "train")):
        np.save("p.npy", probs)
        with pytest.warns(UserWarning, match="^ignored 10 validation rows$"):
            found = audit_labels("t.csv", probs="p.npy", part=part, out=part)
        assert "ignored 10 validation rows" in found.notes
        assert not found.flagged.any()
        assert found.summary["agreement"] == 1
        rows = np.flatnonzero(kept)
        assert found.index.tolist() == rows.tolist()
        again = Audit.load(part)
        assert again.index.tolist() == rows.tolist()
        assert again.neighbors == found.neighbors
        assert list(load_examples(part).rows) == rows.tolist()
        np.save("q.npy", probs[rows])
        if part == "train":  # a part that the user made has an order
            assert not audit_labels("t.csv", probs="q.npy", part=part, reporter=Silent()).flagged.any()
        else:
            with pytest.raises(
                InputError, match=r"q.npy has 30 rows, expected 40, .*\(30 of them are audited"
            ):
                audit_labels("t.csv", probs="q.npy", part=part)


def test_unreadable_images_count(tmp_path: Path) -> None:
    made, source = make("image_folder", tmp_path)
    (source / made.ids[3]).write_bytes(b"no image")
    probs, _ = one_hot(made.labels)
    np.save("p.npy", probs)
    found = audit_labels(source, probs="p.npy", bad_images="skip", out="a")
    assert "left out 1 of 40 images that cannot be read" in " ".join(found.notes)
    assert not found.flagged.any()
    assert found.index.tolist() == [row for row in range(40) if row != 3]
    assert Audit.load("a").ids == [name for row, name in enumerate(made.ids) if row != 3]
    np.save("q.npy", np.delete(probs, 3, axis=0))
    with pytest.raises(InputError, match=r"q.npy has 39 rows, expected 40, .* \(39 of them are audited\)"):
        audit_labels(source, probs="q.npy", bad_images="skip")
    # the members of duplicates are rows too
    shutil.copy(source / made.ids[5], source / f"{'cat' if made.labels[5] != 'cat' else 'dog'}/copy.png")
    audit_labels(source, out="b", bad_images="skip", **QUICK)
    (conflict,) = json.loads(Path("b/audit.json").read_text())["duplicates"]["conflicts"]
    paths = sorted(path.relative_to(source).as_posix() for path in source.rglob("*.png"))
    assert [paths[row] for row in conflict["members"]] == conflict["ids"]
    loaded = Audit.load("b")
    (inside,) = loaded.summary["duplicates"]["conflicts"]
    assert [loaded.ids[position] for position in inside["members"]] == conflict["ids"]


def test_images_in_training_and_test_folders_are_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for row, (label, picture) in enumerate(zip(WORDS, pictures_of(WORDS), strict=True)):
        path = tmp_path / "d" / ("train" if row % 3 else "test") / label / f"{row:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    paths = sorted(path.relative_to("d").as_posix() for path in Path("d").rglob("*.png"))
    probs, _ = one_hot([path.split("/")[1] for path in paths])
    np.save("p.npy", probs)
    found = audit_labels("d", probs="p.npy")
    assert not found.flagged.any()
    assert list(found.ids) == paths
    train = [row for row, path in enumerate(paths) if path.startswith("train")]
    for rows in (np.arange(40), train):
        np.save("p.npy", probs[rows])
        found = audit_labels("d", probs="p.npy", part="train")
        assert found.index.tolist() == train
        assert not found.flagged.any()


def test_two_ways_to_sort_paths_need_ids(tmp_path: Path) -> None:
    labels = ["cat", "cat-big"] * 6
    made = FORMS["image_folder"](tmp_path, labels)
    probs, names = one_hot(made.labels)
    np.save("p.npy", probs)
    with pytest.raises(
        InputError, match="has 12 rows without ids, and paths sorted as text and paths sorted by"
    ):
        audit_labels(made.source, probs="p.npy")
    found = audit_labels(made.source, probs=write(probs, names, made.ids, "ids.csv"))
    assert not found.flagged.any()


def test_parts_without_a_common_order_need_ids(tmp_path: Path) -> None:
    codes = np.arange(40) % 3
    X = np.random.default_rng(0).normal(size=(40, 3)).astype("f4")
    np.savez("parts.npz", x_train=X[:30], y_train=codes[:30], x_test=X[30:], y_test=codes[30:])
    probs, names = one_hot(codes.tolist())
    np.save("p.npy", probs)
    with pytest.raises(InputError, match=r"p.npy has 40 rows without ids, .* no single order .*\(id\)"):
        audit_labels("parts.npz", probs="p.npy")
    with pytest.raises(InputError, match="no single order"):
        audit_labels("parts.npz", probs=probs)
    ids = [*(f"train:{row}" for row in range(30)), *(f"test:{row}" for row in range(10))]
    found = audit_labels("parts.npz", probs=write(probs, names, ids, "ids.csv"), out="a")
    assert not found.flagged.any()
    assert found.index is None
    same = Audit.load("a")
    assert same.index is None
    assert same.ids == found.ids
    # one part is an array of its own
    found = audit_labels("parts.npz", probs=probs[:30], part="train")
    assert not found.flagged.any()
    assert found.index.tolist() == list(range(30))


def test_a_part_that_load_has_drawn_needs_all_rows_or_ids(tmp_path: Path) -> None:
    made, source = make("csv", tmp_path)
    train, _ = nl.load(source)
    probs, _ = one_hot(made.labels)
    assert not audit_labels(source, probs=probs, part="train").flagged.any()
    with pytest.raises(InputError, match=f"has {len(train)} rows, expected 40"):
        audit_labels(source, probs=probs[: len(train)], part="train")
    # a set in hand has an order of its own
    assert not audit_labels(train, probs=probs[train.rows]).flagged.any()
    assert not audit_labels(train, probs=probs).flagged.any()
    turned = subset_of(joined(*nl.load(source)), np.arange(40)[::-1].copy())
    with pytest.raises(
        InputError, match="has 40 rows without ids, and the set is in another order than its file"
    ):
        audit_labels(turned, probs=probs)


def test_errors_name_the_row_of_the_file(tmp_path: Path) -> None:
    made, source = make("csv", tmp_path)
    probs, names = one_hot(made.labels)
    bad = probs.copy()
    bad[7] = 0.9
    frame = pd.DataFrame(bad, columns=names).assign(id=made.ids)
    frame.iloc[::-1].to_csv("p.csv", index=False)
    with pytest.raises(InputError, match=r"p.csv, line 34 \(id 'row:7'\) sums to 2.7"):
        audit_labels(source, probs="p.csv")
    frame.drop(columns="id").to_parquet("p.parquet")
    with pytest.raises(InputError, match=r"p.parquet, row 7 sums to 2.7"):
        audit_labels(source, probs="p.parquet")
    with pytest.raises(InputError, match=r"row 7 of probs sums to 2.7"):
        audit_labels(source, probs=bad, part="train")
    twice = pd.DataFrame(probs, columns=names).assign(id=["row:0", *made.ids[:-1]])
    twice.to_csv("p.csv", index=False)
    with pytest.raises(InputError, match=r"p.csv, line 3: line 2 has the id 'row:0' too; remove one"):
        audit_labels(source, probs="p.csv")
    more = pd.DataFrame(np.vstack([probs, probs[:2]]), columns=names).assign(
        id=[*made.ids, "row:50", "row:51"]
    )
    more.to_csv("p.csv", index=False)
    notes: list[str] = []
    audit_labels(source, probs="p.csv", reporter=Notes(notes.append))
    assert [note for note in notes if "2 of 42 rows are not used" in note]


def test_an_audit_of_format_1_is_still_read(tmp_path: Path) -> None:
    """Check an audit whose positions are those of the training part, then the test part."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    _, source = make("image_folder", tmp_path)
    before = dataclasses.replace(joined(*nl.load(source)), positions=None)
    audit = audit_labels(before, probs=np.full((40, 3), 1 / 3))
    summary = {name: value for name, value in audit.summary.items() if name != "source_rows"}
    summary |= {"data": str(source), "digest": before.digest}
    old = dataclasses.replace(audit, summary=summary, index=None, ids=list(before.ids))
    old.save("a")
    head = json.loads(Path("a/audit.json").read_text())
    Path("a/audit.json").write_text(json.dumps(head | {"format": 1}))
    pq.write_table(pa.table(dict(zip("abc", audit.probs.T, strict=True))), "a/probs.parquet")
    loaded = Audit.load("a")
    assert loaded.ids == list(before.ids)
    assert loaded.index is None
    np.testing.assert_array_equal(loaded.probs, audit.probs)
    assert list(load_examples("a").ids) == loaded.ids
    loaded.save("b")
    assert Audit.load("b").ids == loaded.ids
