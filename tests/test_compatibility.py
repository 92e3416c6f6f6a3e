"""Deprecated names still work and warn; files of earlier versions are read without a warning."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import noisylabels as nl
from noisylabels.core.deprecated import DEPRECATED
from noisylabels.study import export, read_rows
from noisylabels.training.history import RENAMED, History

ROOT = Path(__file__).parents[1]


def numbered(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_a_deprecated_method_works_and_its_caller_is_warned() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 40)
    features = np.eye(3)[labels] + rng.normal(0, 0.1, (120, 3))
    with pytest.warns(DeprecationWarning, match=r"'neighbours' is 'neighbors'; .* from 0\.3\.0 on") as warned:
        old = nl.estimate_transition(labels, features=features, method="neighbours")
    assert [Path(each.filename).name for each in warned] == [Path(__file__).name]
    new = nl.estimate_transition(labels, features=features, method="neighbors")
    assert old.method == new.method == "neighbors"
    np.testing.assert_array_equal(old.transition, new.transition)


def test_every_deprecated_name_is_documented_and_not_overdue() -> None:
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    section = page[page.index("## Deprecated names") : page.index("## Files of earlier versions")]
    rows = re.findall(r"^\| `(.+?)` \| `(.+?)` \| `(.+?)` \| ([\d.]+) \| ([\d.]+) \|$", section, re.MULTILINE)
    assert rows == [(row.argument, row.old, row.new, row.since, row.until) for row in DEPRECATED]
    for row in DEPRECATED:
        assert numbered(row.since) <= numbered(nl.__version__) < numbered(row.until), row


def test_histories_with_former_columns_are_read(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    assert all(f"`{old}`" in page and f"`{new}`" in page for old, new in RENAMED.items())
    history = read_rows(ROOT / "results" / "digits-study" / "runs.parquet")[0]["history"]
    former = {new: old for old, new in RENAMED.items()}
    lines = [json.dumps({former.get(name, name): value for name, value in row.items()}) for row in history]
    assert all('"memorised"' in line and '"corrected"' in line for line in lines)
    (tmp_path / "history.jsonl").write_text("\n".join(lines) + "\n")
    assert History.read(tmp_path / "history.jsonl").rows == history


def test_an_export_with_former_columns_is_read(tmp_path: Path) -> None:
    rows = read_rows(ROOT / "results" / "digits-study" / "runs.parquet")[:2]
    assert all({"memorized", "recovered"} <= row["history"][-1].keys() for row in rows)
    former = {new: old for old, new in RENAMED.items()}

    def renamed(row: dict[str, object]) -> dict[str, object]:
        return {former.get(name, name): value for name, value in row.items()}

    export(
        (
            row | {"history": list(map(renamed, row["history"])), "final": renamed(row["final"])}
            for row in rows
        ),
        tmp_path / "old.parquet",
    )
    assert read_rows(tmp_path / "old.parquet") == sorted(rows, key=lambda row: row["run_id"])


def test_an_audit_with_the_former_file_of_neighbors_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 30)
    X = np.eye(3)[labels] * 4 + rng.normal(0, 0.5, (90, 3))
    labels[:6] = (labels[:6] + 1) % 3
    probs = np.exp(X) / np.exp(X).sum(1, keepdims=True)
    audit = nl.audit_labels(X, labels=labels, probs=probs)
    assert audit.neighbors
    audit.save(tmp_path / "a")
    (tmp_path / "a" / "neighbors.parquet").rename(tmp_path / "a" / "neighbours.parquet")
    loaded = nl.Audit.load(tmp_path / "a").neighbors
    assert loaded.keys() == audit.neighbors.keys()
    for position, pair in audit.neighbors.items():
        for now, before in zip(loaded[position], pair, strict=True):
            np.testing.assert_array_equal(now, before)
