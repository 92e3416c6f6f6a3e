"""An audit's folder: saving, loading, and errors in one line."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from noisylabels.audit.assessment import assess
from noisylabels.audit.audited_data import load_examples
from noisylabels.audit.result import FILES, Audit
from noisylabels.core.checks import CorruptedFile, InputError
from noisylabels.noise.noise_rate import NETWORK

NAMES = ("cat", "<img src=x onerror=alert(1)>", 'a "b", c\nd')


SUMMARY = {
    **dict.fromkeys(("data", "data_root", "image_size", "labels", "digest", "known")),
    **{"bad_images": "fail", "part": "all", "noise": "none", "seed": 0, "method": {"probs": "given"}},
    **{"flagged": 2, "agreement": 0.5, "pairs": [], "transition": {"matrix": np.eye(3).tolist()}},
    "rate": {"estimate": 0.4, "low": None, "high": None, "level": None, "method": "calibrated", "count": 2},
    "classes": [{"name": name, "count": 2, "flagged": 1, "wrong": 0.5} for name in NAMES],
    "duplicates": {"groups": 0, "copies": 0, "conflicts": []},
}
SUMMARY["transition"] |= {"low": None, "high": None}


def made(**changes: Any) -> Audit:
    """Return an audit of five examples, two of them flagged."""
    given, p = np.array([0, 1, 2, 0, 1]), np.arange(1, 16, dtype=np.float32).reshape(5, 3) % 7 + 1
    outside = p / p.sum(axis=1, keepdims=True)
    audit = Audit(
        name="five",
        class_names=NAMES,
        ids=["a.png", "b'c \".png", "../d.png", "\udcffe.png", "f.png"],
        given=given,
        suggested=np.array([0, 0, 2, 2, 0]),
        score=np.array([0.9, 0.1, 0.8, 0.05, 0.1]),
        flagged=np.array([False, True, False, True, False]),
        probs=assess(given, outside, None, NETWORK).posterior.kept(),
        out_of_fold=outside,
        why=["fine", "the model says cat", "fine", "the model says a", "fine"],
        summary=SUMMARY,
        neighbors={3: ([0], [2]), 1: ([4], [0, 3])},
        paths=["a.png", None, None, None, "f.png"],
    )
    return replace(audit, **changes)


def test_the_order_is_by_label_quality_flagged_first() -> None:
    assert made().order.tolist() == [3, 1, 4, 2, 0]
    assert [row["index"] for row in made().rows(2)] == [3, 1]


@pytest.mark.parametrize("true", [None, np.array([0, 0, 2, -1, 1])])
def test_a_saved_audit_is_loaded_unchanged(tmp_path: Path, true: np.ndarray | None) -> None:
    audit = made(true=true)
    audit.save(tmp_path / "a", "<p>page</p>")
    again = Audit.load(tmp_path / "a")
    absent = {"seen.parquet", "network.parquet"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == {*FILES} - absent
    for name in ("given", "suggested", "score", "flagged", "probs", "out_of_fold", "order"):
        np.testing.assert_array_equal(getattr(again, name), getattr(audit, name))
        assert getattr(again, name).dtype == getattr(audit, name).dtype
    assert again.class_names == audit.class_names
    assert again.ids == [*audit.ids[:3], "\\xffe.png", "f.png"]  # bytes that are no UTF-8 are spelled out
    for name in ("name", "why", "summary", "neighbors", "paths"):
        assert getattr(again, name) == getattr(audit, name)
    assert (again.true is None) == (true is None)
    if true is not None:
        np.testing.assert_array_equal(again.true, true)


@pytest.mark.parametrize(("shift", "noted"), [(0.0, False), (0.1, True)])
def test_probabilities_of_another_estimate_are_noted(tmp_path: Path, shift: float, noted: bool) -> None:
    """The folder holds what the models predicted; `probs` are made of it when it is read."""
    audit = made()
    wrong = np.clip(1 - audit.probs[np.arange(5), audit.given].astype(np.float64) + shift, 0, 1)
    replace(audit, probability_wrong=wrong, probability_suggested=1 - wrong).save(tmp_path)
    again = Audit.load(tmp_path)
    np.testing.assert_allclose(again.probability_wrong, wrong, atol=1e-6)
    assert [note.startswith("another version") for note in again.notes] == [True] * noted
    assert again.summary == audit.summary


def test_the_three_tables_are_equal(tmp_path: Path) -> None:
    made().save(tmp_path)
    rows = pq.read_table(tmp_path / "labels.parquet").to_pylist()
    assert json.loads((tmp_path / "labels.json").read_text(encoding="utf-8")) == rows
    with (tmp_path / "labels.csv").open(newline="", encoding="utf-8") as file:
        cells = list(csv.DictReader(file))
    assert [row["given"] for row in cells] == [row["given"] for row in rows]
    assert [float(row["score"]) for row in cells] == [row["score"] for row in rows]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0] == {
        "rank": 1,
        "index": 3,
        "id": "\\xffe.png",
        "path": None,
        "given": "cat",
        "suggested": 'a "b", c\nd',
        "score": 0.05,
        "flagged": True,
        "why": "the model says a",
    }


def test_a_folder_without_an_audit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="does not exist; run `noisylabels audit DATA"):
        Audit.load(tmp_path / "nothing")
    with pytest.raises(InputError, match="holds no audit"):
        Audit.load(tmp_path / "empty")
    with pytest.raises(InputError, match="is a file, expected a folder"):
        made().save(tmp_path / "file")
    with pytest.raises(InputError, match="were arrays"):
        load_examples(made().save(tmp_path / "a"))


@pytest.mark.parametrize("name", ["labels.parquet", "probs.parquet", "neighbors.parquet"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    made().save(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:40])
    with pytest.raises(CorruptedFile, match=name):
        Audit.load(tmp_path)


def test_files_of_two_audits_are_refused(tmp_path: Path) -> None:
    made().save(tmp_path)
    head = json.loads((tmp_path / "audit.json").read_text())
    (tmp_path / "audit.json").write_text(json.dumps(head | {"n": 4}))
    with pytest.raises(CorruptedFile, match="from different audits"):
        Audit.load(tmp_path)
    (tmp_path / "audit.json").write_text(json.dumps(head | {"format": 3}))
    with pytest.raises(InputError, match="format 3"):
        Audit.load(tmp_path)
