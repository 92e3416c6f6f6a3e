"""Classes with too few examples to judge: in probabilities, tables and images, alone and as copies."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import noisylabels as nl
from noisylabels.audit.page import lead, page
from noisylabels.audit.rare import FEWEST, TOO_RARE, rare_note, rare_rows
from noisylabels.audit.result import Audit
from noisylabels.core.checks import InputError

QUICK = {"model": "mlp", "width": 0.2, "epochs": 4, "folds": 2, "device": "cpu"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("seed", range(5))
def test_the_rows_equal_a_naive_count(seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 12, 60)
    counts = [labels.tolist().count(k) for k in range(12)]
    assert any(0 < n < FEWEST for n in counts)
    found = rare_rows(labels, 12)
    assert found is not None
    assert found.tolist() == [counts[k] < FEWEST for k in labels.tolist()]
    note = rare_note(labels, [f"class {k}" for k in range(12)])
    named = [k for k, n in enumerate(counts) if 0 < n < FEWEST]
    for k in named[:5]:
        assert f"'class {k}' ({counts[k]} example" in note
    more = len(named) - 5
    assert (f"and {more} more class{'es' if more > 1 else ''}:" in note) == (more > 0)


@pytest.mark.parametrize(
    ("count", "words"), [(5, None), (6, "and 1 more class:"), (7, "and 2 more classes:")]
)
def test_how_many_more_classes_are_rare(count: int, words: str | None) -> None:
    labels = np.concatenate([np.zeros(10, np.int64), np.arange(1, count + 1)])
    note = rare_note(labels, [f"c{k}" for k in range(count + 1)])
    assert (words or "'c5' (1 example):") in note
    assert ("more" in note) == (words is not None)


def test_none_and_all_rare_are_judged_as_ever() -> None:
    assert rare_rows(np.repeat([0, 1], FEWEST), 3) is None
    assert rare_rows(np.repeat([0, 1], FEWEST - 1), 2) is None
    found = nl.audit_labels(labels=np.repeat([0, 1], 2), probs=np.eye(2)[[0, 0, 1, 0]])
    assert "not_judged" not in found.summary
    assert found.score.argmin() == 3
    assert TOO_RARE not in list(found.why)


def check_left_alone(found: Audit, rare: list[int]) -> None:
    """Check that the rare rows are not judged, and that this is said and written."""
    assert found.summary["not_judged"] == rare
    assert not found.flagged[rare].any()
    np.testing.assert_array_equal(found.suggested[rare], found.given[rare])
    assert [found.why[i] for i in rare] == [TOO_RARE] * len(rare)
    assert TOO_RARE not in [why for i, why in enumerate(found.why) if i not in rare]
    assert found.probability_wrong is not None
    # as likely wrong as any label
    np.testing.assert_allclose(found.probability_wrong[rare], found.summary["rate"]["estimate"], atol=1e-6)
    assert sum("too few to judge their labels" in note for note in found.notes) == 1


@pytest.mark.parametrize("count", [1, FEWEST - 1])
def test_rare_rows_leave_the_others_of_given_probabilities(count: int) -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 300)
    given = np.where(rng.random(300) < 0.1, (true + 1) % 3, true)
    p = rng.dirichlet(np.ones(3) * 0.3, 300) * 0.5
    p[np.arange(300), true] += 0.5
    without = nl.audit_labels(labels=given, probs=p)
    # probabilities of a class that was hardly ever seen: low for all, its own examples too
    wide = np.concatenate([p * 0.999, np.full((300, 1), 0.001)], axis=1)
    more = np.concatenate([wide, np.tile([0.4, 0.3, 0.299, 0.001], (count, 1))])
    labels = np.concatenate([given, np.full(count, 3)])
    found = nl.audit_labels(labels=labels, probs=more)
    check_left_alone(found, list(range(300, 300 + count)))
    assert found.summary["rate"]["estimate"] == pytest.approx(without.summary["rate"]["estimate"], abs=0.01)
    assert without.flagged.sum() > 10
    assert (found.flagged[:300] != without.flagged).sum() <= 1
    assert (found.suggested[:300] != without.suggested).sum() <= 1
    np.testing.assert_allclose(found.score[:300], without.score, atol=0.12)
    # from five examples on they are judged
    enough = np.concatenate([more, more[-1:].repeat(FEWEST - count, axis=0)])
    judged = nl.audit_labels(labels=np.concatenate([labels, np.full(FEWEST - count, 3)]), probs=enough)
    assert "not_judged" not in judged.summary
    assert judged.flagged[300:].all()


def test_one_row_of_a_rare_class_makes_no_right_label_of_a_table_look_wrong(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(0, 1, (60, 3)), rng.normal(5, 1, (60, 3)), [[2.5, 2.5, -3]]])
    lines = [
        ",".join(f"{value:.3f}" for value in row) + f",{label}"
        for row, label in zip(rows, ["a"] * 60 + ["b"] * 60 + ["rare"], strict=True)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["p,q,r,label", *lines]) + "\n", encoding="utf-8")
    found = nl.audit_labels(tmp_path / "t.csv", out=tmp_path / "a")
    check_left_alone(found, [120])
    assert not found.flagged.any()
    assert found.summary["rate"]["estimate"] < 0.03
    again = Audit.load(tmp_path / "a")
    np.testing.assert_array_equal(again.probs, found.probs)
    assert again.summary["not_judged"] == [120]
    assert TOO_RARE in (tmp_path / "a" / "labels.csv").read_text(encoding="utf-8")
    # the page's table of classes has no share of wrong labels where none is judged
    text = page(found, None, tmp_path / "a")
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    shares = {row["name"]: row["wrong"] for row in json.loads(data)["byClass"]}
    assert shares == {row["name"]: row["wrong"] for row in found.summary["classes"]} | {"rare": None}


def images(root: Path) -> Path:
    """Create two classes of dark and bright images, and a third with one image of its own."""
    rng = np.random.default_rng(0)
    for k, name in enumerate(("cat", "dog", "lynx")):
        (root / name).mkdir(parents=True)
        for i in range(12 if k < 2 else 1):
            pixels = np.clip(50 + 140 * k / (k + 1) + rng.normal(0, 20, (12, 12)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i}.png")
    return root


def test_one_image_of_a_rare_class(tmp_path: Path) -> None:
    found = nl.audit_labels(images(tmp_path / "photos"), **QUICK)  # type: ignore[arg-type]
    check_left_alone(found, [found.ids.index("lynx/0.png")])


def test_a_copy_in_a_rare_class_decides_nothing_unless_it_was_checked(tmp_path: Path) -> None:
    root = images(tmp_path / "photos")
    (root / "lynx" / "0.png").write_bytes((root / "cat" / "3.png").read_bytes())
    found = nl.audit_labels(root, **QUICK)  # type: ignore[arg-type]
    cat, lynx = found.ids.index("cat/3.png"), found.ids.index("lynx/0.png")
    check_left_alone(found, [lynx])
    assert [set(one["ids"]) for one in found.summary["duplicates"]["conflicts"]] == [
        {"cat/3.png", "lynx/0.png"}
    ]
    assert not found.flagged[cat]
    assert "lynx" not in found.why[cat]
    checked = nl.audit_labels(root, trusted=["lynx/0.png"], **QUICK)  # type: ignore[arg-type]
    assert checked.flagged[cat]
    assert checked.suggested[cat] == checked.given[lynx]
    assert checked.why[cat] == "same image as lynx/0.png, labeled lynx"
    assert checked.why[lynx] == f"checked by hand; {TOO_RARE}"
    assert checked.probability_wrong is not None
    assert checked.probability_wrong[lynx] == 0


def test_labels_of_which_none_can_be_judged_are_an_error() -> None:
    labels, probs = np.array([0] * 8 + [1] * 2), np.full((10, 2), 0.5)
    with pytest.raises(
        InputError, match=r"no label of .* is left to judge: all are checked by hand, of a class"
    ):
        nl.audit_labels(labels=labels, probs=probs, trusted=np.arange(10) < 8)
    found = nl.audit_labels(labels=labels, probs=probs, trusted=np.arange(10) > 8)
    assert "of the 8 labels not checked by hand" in lead(found) or "these 8 labels" in lead(found)
