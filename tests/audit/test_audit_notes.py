"""Notes on the data reach the audit, its file and its page, and cause warnings without a reporter."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import noisylabels as nl
from noisylabels.experiment.reporter import Notes

ALIKE = "classes that look like one: 'Cat' (20), 'cat' (20); correct their spelling if they are one"
UNUSED = "ignored 10 validation rows"


def table(folder: Path) -> Path:
    """Write a table with validation rows and two spellings of a class."""
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)), columns=["a", "b"])
    frame["split"] = ["train"] * 40 + ["val"] * 10
    frame.loc[30:39, "split"] = "test"
    frame["label"] = ["Cat", "cat"] * 20 + ["Cat"] * 10
    frame.to_csv(folder / "t.csv", index=False)
    return folder / "t.csv"


def test_the_notes_are_in_the_audit_its_file_its_page_and_warnings(tmp_path: Path) -> None:
    probs = np.eye(2)[np.arange(40) % 2]
    ids = [f"row:{row}" for row in range(40)]
    np.savez(tmp_path / "p.npz", probs=probs, ids=np.array(ids))
    given = pd.DataFrame({"id": ids, "Cat": probs[:, 0], "cat": probs[:, 1]})
    given.to_csv(tmp_path / "p.csv", index=False)
    with pytest.warns(UserWarning, match="ignored|look like one") as caught:
        found = nl.audit_labels(table(tmp_path), probs=tmp_path / "p.csv", out=tmp_path / "a")
    assert {str(one.message) for one in caught} == {ALIKE, UNUSED}
    assert {one.filename for one in caught} == {__file__}
    assert {ALIKE, UNUSED} <= set(found.notes)
    assert f"{len(found.notes)} notes in .notes" in repr(found)
    assert json.loads((tmp_path / "a/audit.json").read_text())["notes"] == found.notes
    assert nl.Audit.load(tmp_path / "a").notes == found.notes
    page = (tmp_path / "a/page.html").read_text()
    assert "Notes on the data" in page
    assert f"<li>{UNUSED}</li>" in page


def test_a_reporter_gets_the_same_notes_and_nothing_warns() -> None:
    labels, notes = ["Cat", "cat", "dog"], list[str]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = nl.audit_labels(labels=labels, probs=np.eye(3), reporter=Notes(notes.append))
    assert found.notes == notes
    assert notes[0].startswith("classes that look like one")


def test_an_audit_without_notes_has_none() -> None:
    found = nl.audit_labels(labels=["cat", "dog"], probs=np.eye(2))
    assert found.notes == []
    assert "note" not in repr(found)
