"""Trusted labels as people list them: with marks, without a heading, with ids that occur twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.experiment.reporter import Notes

IDS = [f"p{k}" for k in range(11)] + ["p0"]  # the last is called p0#2
LABELS = ["cat" if k % 2 else "dog" for k in range(12)]


@pytest.fixture(autouse=True)
def _data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"id": IDS, "u": np.arange(12) / 8, "label": LABELS}).to_csv("data.csv", index=False)
    probs = pd.DataFrame({"cat": np.linspace(0.1, 0.9, 12)})
    probs.assign(dog=1 - probs["cat"]).to_csv("probs.csv", index=False)


def trusted(text: str, name: str = "ids.csv", **more: object) -> tuple[list[str], list[str]]:
    Path(name).write_text(text)
    notes: list[str] = []
    found = nl.audit_labels("data.csv", probs="probs.csv", trusted=name, reporter=Notes(notes.append), **more)
    return [one for one, yes in zip(found.ids, found.trusted, strict=True) if yes], notes


def test_the_first_id_of_a_file_without_a_heading_counts() -> None:
    assert trusted("p1\np2\n")[0] == ["p1", "p2"]
    assert trusted("id\np1\np2\n")[0] == ["p1", "p2"]
    assert trusted("which\np1\n")[0] == ["p1"]


def test_marks_in_a_file_of_ids_count() -> None:
    found, notes = trusted("id,checked\np1,yes\np2,no\np3,\n")
    assert found == ["p1"]
    assert any("2 ids are not trusted, as the column 'checked' says" in line for line in notes)
    assert trusted("id,label,Trusted,flagged\np1,cat,1,0\np2,cat,0,1\n")[0] == ["p1"]
    assert trusted("id,comment\np1,fine\np2,\n")[0] == ["p1", "p2"]
    with pytest.raises(InputError, match="a column 'flagged' of yes and no; name it trusted if"):
        trusted("id,flagged\np1,True\np2,False\n")
    with pytest.raises(InputError, match="line 3: 'checked' is 'perhaps', expected yes or no"):
        trusted("id,checked\np1,yes\np2,perhaps\n")


def test_examples_of_the_same_id_are_named() -> None:
    found, notes = trusted("id\np0\np1\n")
    assert found == ["p0", "p1"]
    assert any("first 'p0#2', and are not trusted" in line for line in notes)
    found, notes = trusted("id\np0\np0#2\n")
    assert found == ["p0", "p0#2"]
    assert not any("not trusted" in line for line in notes)
    Path("fixed.csv").write_text("id,label\np0,cat\n")
    _, notes = trusted("id\np1\n", labels="fixed.csv")
    assert any("first 'p0#2', and keep their labels" in line for line in notes)


def test_a_mask_with_an_index_of_its_own() -> None:
    probs = pd.read_csv("probs.csv").to_numpy()
    order = np.random.default_rng(0).permutation(12)
    mask = np.arange(12) < 4
    labels = pd.Series(LABELS, index=[*IDS[:11], "q"])
    shuffled = pd.Series(mask, index=labels.index).iloc[order]
    for options in ({"labels": labels}, {"data": pd.DataFrame({"u": 1.0, "label": labels})}):
        found = nl.audit_labels(**options, probs=probs, trusted=shuffled)
        np.testing.assert_array_equal(found.trusted, mask)
    with pytest.raises(InputError, match="trusted has the index 0 to N - 1 in another order"):
        nl.audit_labels(labels=LABELS, probs=probs, trusted=pd.Series(mask).iloc[order])
    with pytest.raises(InputError, match="labels and trusted have different indexes"):
        nl.audit_labels(labels=labels, probs=probs, trusted=pd.Series(mask, index=[*"abcdefghijkl"]))
    found = nl.audit_labels(labels=LABELS, probs=probs, trusted=pd.Series(mask))
    np.testing.assert_array_equal(found.trusted, mask)
