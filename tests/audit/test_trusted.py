"""Labels checked by hand are never flagged, whatever form the data and the list of them have."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_forms import FORMS
from noisylabels.audit.duplicates import Group
from noisylabels.audit.issues import find_issues
from noisylabels.audit.page import lead
from noisylabels.audit.posterior import calibrated
from noisylabels.audit.result import Audit
from noisylabels.audit.running import audit_labels
from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.noise.checked_probs import CheckedProbs

LABELS = ["cat" if i % 2 else "dog" for i in range(24)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))


def against(path: Path, ids: list[str], labels: list[Any]) -> Path:
    """Write probabilities that contradict every label of two classes."""
    classes = sorted({str(label) for label in labels})
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", *classes])
        for one, label in zip(ids, labels, strict=True):
            rows.writerow([one, *(float(str(label) != name) for name in classes)])
    return path


def test_models_do_not_learn_from_the_column_that_marks_trusted_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [f"{rng.normal():.3f},{'yes' if k % 4 else 'no'},{'ab'[k % 2]}" for k in range(40)]
    others = [*(line.replace(",yes,", ",no,") for line in lines[:-1]), lines[-1]]
    for name, rows in (("t", lines), ("other", others)):
        (tmp_path / f"{name}.csv").write_text("\n".join(["u,checked,label", *rows, ""]))
    made = [
        audit_labels(str(tmp_path / f"{name}.csv"), trusted="checked", epochs=1, folds=2, device="cpu")
        for name in ("t", "other")
    ]
    assert made[0].out_of_fold is not None
    np.testing.assert_array_equal(made[0].out_of_fold, made[1].out_of_fold)


@pytest.mark.parametrize("form", sorted(FORMS))
def test_trusted_labels_are_never_flagged(form: str, tmp_path: Path) -> None:
    made = FORMS[form](tmp_path, [i % 2 for i in range(24)])
    ids, wanted = made.ids, set(made.ids[3:15:2])
    probs: Any = 1.0 - np.eye(2)[np.array([int(label) for label in made.labels])]
    if isinstance(made.source, Path):
        probs = against(tmp_path / "against.csv", ids, made.labels)
    else:
        mask = np.array([name in wanted for name in ids])
        np.testing.assert_array_equal(audit_labels(made.source, probs=probs, trusted=mask).trusted, mask)
    found = audit_labels(made.source, probs=probs, trusted=sorted(wanted))
    assert {name for name, one in zip(found.ids, found.trusted, strict=True) if one} == wanted
    np.testing.assert_array_equal(found.flagged, ~found.trusted)
    np.testing.assert_array_equal(found.suggested[found.trusted], found.given[found.trusted])
    others = len(LABELS) - len(wanted)  # the rate is that of these, nearly all of which are contradicted
    assert others - 2 <= found.summary["rate"]["count"] <= others
    said = found.summary["trusted"]
    assert (said["count"], said["from"], said["agreement"]) == (len(wanted), "ids", 0.0)
    assert all(found.why[i].startswith("checked by hand as ") for i in np.flatnonzero(found.trusted))


def table(path: Path, checked: list[str] | None = None, split: list[str] | None = None) -> Path:
    columns = {
        "id": [f"r{i}" for i in range(24)],
        "x": [str(i * 0.37 % 5) for i in range(24)],
        "label": LABELS,
    }
    columns |= {} if checked is None else {"checked": checked}
    columns |= {} if split is None else {"split": split}
    lines = [list(columns), *zip(*columns.values(), strict=True)]
    path.write_text("".join(",".join(line) + "\n" for line in lines), encoding="utf-8")
    return path


def trusted_ids(found: Audit) -> list[str]:
    assert found.trusted is not None
    return sorted(name for name, one in zip(found.ids, found.trusted, strict=True) if one)


@pytest.fixture
def probs(tmp_path: Path) -> Path:
    return against(tmp_path / "against.csv", [f"r{i}" for i in range(24)], LABELS)


@pytest.mark.parametrize("part", ["test", "val", "train"])
def test_a_part_of_a_table(part: str, probs: Path, tmp_path: Path) -> None:
    name = "val" if part == "val" else "test"
    data = table(tmp_path / "t.csv", split=[name if i % 4 == 0 else "train" for i in range(24)])
    found = audit_labels(data, probs=probs, trusted=part)
    expected = [f"r{i}" for i in range(24) if (i % 4 == 0) == (part != "train")]
    assert trusted_ids(found) == sorted(expected)
    assert not found.flagged[found.trusted].any()
    assert found.summary["trusted"]["from"] == f"part {part}"


def test_a_part_that_the_data_do_not_have(probs: Path, tmp_path: Path) -> None:
    held_out = table(tmp_path / "held.csv")
    with pytest.raises(InputError, match=r"held has no test part of its own to trust \(--trusted test\)"):
        audit_labels(held_out, probs=probs, trusted="test")
    data = table(tmp_path / "t.csv", split=["test" if i % 4 == 0 else "train" for i in range(24)])
    with pytest.raises(InputError, match="t has no val part of its own to trust"):
        audit_labels(data, probs=probs, trusted="val")
    with pytest.raises(InputError, match="the test part cannot be trusted, because it is not audited"):
        audit_labels(data, probs=probs, trusted="test", part="train")


def test_a_test_folder_and_a_test_column_of_images(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    lines = ["path,label,split,seen"]
    for i, label in enumerate(LABELS):
        part = "test" if i % 3 == 0 else "train"
        place = root / part / label / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)).save(place)
        lines.append(f"photos/{part}/{label}/{i}.png,{label},{part},{'yes' if i < 5 else 'no'}")
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    ids = [line.split(",")[0].removeprefix("photos/") for line in lines[1:]]
    probs = against(tmp_path / "p.csv", ids, LABELS)
    found = audit_labels(root, probs=probs, trusted="test")
    assert trusted_ids(found) == sorted(ids[::3])
    assert not found.flagged[found.trusted].any()
    ids = [f"photos/{name}" for name in ids]
    probs = against(tmp_path / "p.csv", ids, LABELS)
    for word, expected in (("test", ids[::3]), ("seen", ids[:5])):
        found = audit_labels(tmp_path / "list.csv", probs=probs, trusted=word)
        assert trusted_ids(found) == sorted(expected)


def test_a_column(probs: Path, tmp_path: Path) -> None:
    words = ["true", "1", "Yes", "false", "0", "no", "", "NA"]
    data = table(tmp_path / "t.csv", checked=[words[i % 8] for i in range(24)])
    found = audit_labels(data, probs=probs, trusted="checked")
    assert trusted_ids(found) == sorted(f"r{i}" for i in range(24) if i % 8 < 3)
    with pytest.raises(InputError, match=r"has no column 'chekced'; did you mean 'checked'\?"):
        audit_labels(data, probs=probs, trusted="chekced")
    table(data, checked=["maybe", *["no"] * 23])
    with pytest.raises(
        InputError, match=r"the column 'checked' holds 'maybe' at 'r0', expected true or false"
    ):
        audit_labels(data, probs=probs, trusted="checked")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".parquet"])
def test_a_file_of_ids(suffix: str, probs: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    data, file = table(tmp_path / "t.csv"), tmp_path / f"checked{suffix}"

    def write(ids: list[str]) -> None:
        if suffix == ".parquet":
            pq.write_table(pa.table({"id": ids}), file)
        else:
            file.write_text("\n".join([*(["id"] if suffix != ".txt" else []), *ids]) + "\n", encoding="utf-8")

    write(["r7", "r2"])
    found = audit_labels(data, probs=probs, trusted=file)
    assert trusted_ids(found) == ["r2", "r7"]
    assert found.summary["trusted"]["from"] == f"file {file.name}"
    write(["r7", "row99"])
    with pytest.raises(InputError, match=r"(line|row) \d: there is no example 'row99' in the data"):
        audit_labels(data, probs=probs, trusted=file)


def test_checked_labels_that_differ_from_the_data_are_not_trusted(probs: Path, tmp_path: Path) -> None:
    data, file = table(tmp_path / "t.csv"), tmp_path / "checked.csv"
    file.write_text(f"id,label\nr0,{LABELS[0]}\nr1,dog\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"the label of 'r1' is dog, and cat in t; audit the checked labels"):
        audit_labels(data, probs=probs, trusted=file)
    assert trusted_ids(audit_labels(data, probs=probs, labels=file, trusted=file)) == ["r0", "r1"]


def test_masks_are_for_arrays() -> None:
    labels, mask = np.array([0, 1, 0, 1, 0, 1]), np.array([True, False, False, True, False, False])
    probs = 1.0 - np.eye(2)[labels]
    for given in (mask, mask.tolist(), ["0", "3"]):
        found = audit_labels(labels=labels, probs=probs, trusted=given)
        np.testing.assert_array_equal(found.flagged, ~mask)
    for wrong, expected in (
        (mask[:4], "a mask of 4 values for 6 labels"),
        (mask.astype(int), "6 numbers 0 and 1; pass a mask as bool"),
        ([], "no label is trusted"),
        (np.zeros(6, bool), "no label is trusted"),
        (np.ones(6, bool), "all 6 labels are trusted"),
        (["0", "9"], "there is no example '9' in the data"),
        ("test", "the data of this audit do not say which examples are of a test part"),
        ("checked", "has no columns"),
        (np.zeros((6, 2)), "expected a mask, bool"),
    ):
        with pytest.raises(InputError, match=expected):
            audit_labels(labels=labels, probs=probs, trusted=wrong)
    with pytest.raises(InputError, match="does not say which examples of digits it means"):
        audit_labels("digits", probs=probs, trusted=mask)
    with pytest.raises(InputError, match="noise is added to all labels, so none can be trusted"):
        audit_labels("digits", noise="symmetric:0.2", trusted="test")


def test_a_trusted_label_decides_a_conflict() -> None:
    labels, groups = np.array([0, 0, 1, 0, 1]), [Group((0, 1, 2), True)]
    probs = np.full((5, 2), 0.5)
    of = calibrated(labels, CheckedProbs(probs, "probs"), 0.0)
    most = find_issues(of, "ab", "vwxyz", groups)
    assert most.flagged.tolist() == [False, False, True, False, False]
    hand = np.array([False, False, True, False, False])
    found = find_issues(of, "ab", "vwxyz", groups, trusted=hand)
    assert found.flagged.tolist() == [True, True, False, False, False]
    assert found.suggested[:3].tolist() == [1, 1, 1]
    assert found.why[0] == "same image as x, labeled b"
    both = np.array([True, True, True, False, False])
    assert not find_issues(of, "ab", "vwxyz", groups, trusted=both).flagged.any()


def test_the_folder_and_the_command(probs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = table(tmp_path / "t.csv", split=["test" if i % 4 == 0 else "train" for i in range(24)])
    words = ["audit", str(data), "--probs", str(probs), "--out", str(tmp_path / "a")]
    assert main([*words, "--trusted", "test"]) == 0
    said = capsys.readouterr().out
    assert "estimate the noise rate of these 18 labels not checked by hand; the unreliable" in said
    assert (
        "checked by hand: 6 labels (part test); out of fold, 0.0 % of them are predicted as checked" in said
    )
    found = Audit.load(tmp_path / "a")
    assert found.trusted.sum() == 6
    assert "not checked by hand" in lead(found)
    for name in ("labels.csv", "labels.json"):
        assert "trusted" in (tmp_path / "a" / name).read_text(encoding="utf-8")
    assert "checked by hand" in (tmp_path / "a" / "page.html").read_text(encoding="utf-8")
    # another list is another audit, and none at all has neither the setting nor the column
    assert main(words) == 2
    assert main([*words[:-1], str(tmp_path / "b")]) == 0
    assert "trusted" not in (tmp_path / "b" / "settings.json").read_text(encoding="utf-8")
    assert "trusted" not in (tmp_path / "b" / "labels.csv").read_text(encoding="utf-8")
    assert Audit.load(tmp_path / "b").trusted is None


def test_parts_of_data_in_memory_can_be_trusted() -> None:
    import pandas as pd

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=24), "label": LABELS})
    probs = 1.0 - np.eye(2)[[int(label == "dog") for label in LABELS]]
    wanted = np.arange(24) >= 16
    split = frame.assign(split=["train"] * 16 + ["test"] * 8)
    parts = (frame[:16], frame[16:])
    images = rng.integers(0, 256, (24, 8, 8), dtype=np.uint8)
    pictures = ((images[:16], LABELS[:16]), (images[16:], LABELS[16:]))
    for data in (split, parts, {"train": parts[0], "test": parts[1]}, pictures):
        found = audit_labels(data, probs=probs, trusted="test")
        assert found.trusted is not None
        assert found.trusted.tolist() == wanted.tolist()
        assert not found.flagged[wanted].any()
    with pytest.raises(InputError, match="the audited data have the parts test, train, but no val part"):
        audit_labels(split, probs=probs, trusted="val")
    with pytest.raises(InputError, match="do not say which examples are of a test part; pass a mask"):
        audit_labels(frame, probs=probs, trusted="test")
    with pytest.raises(InputError, match="columns of data passed as an object are read only for tables"):
        audit_labels((images, LABELS), probs=probs, trusted="ok")


def test_an_audit_of_mostly_trusted_labels_is_loaded_without_a_note(tmp_path: Path) -> None:
    """Trusted labels are not judged, so that their probabilities tell nothing of the estimate."""
    draw = np.random.default_rng(0)
    true = draw.integers(0, 3, 300)
    given = np.where(draw.random(300) < 0.1, (true + 1) % 3, true)
    probs = 0.3 * draw.dirichlet([1, 1, 1], 300) + 0.7 * np.eye(3)[true]
    trusted = (np.arange(300) < 200) & (given == true)
    assert trusted.mean() > 0.5
    words = np.array(["a", "b", "c"])[given]
    found = audit_labels(labels=words, probs=probs, trusted=trusted, out=tmp_path / "a")
    again = Audit.load(tmp_path / "a")
    assert again.notes == found.notes == []
    np.testing.assert_array_equal(again.probs, found.probs)
