"""docs/measured-frozen.md shows what `train` reaches by default, from the runs in results/."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import pytest

from noisylabels.report.tables import markdown
from noisylabels.study.store import read_rows

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "benchmarks"))

import grid_tables  # noqa: E402


def test_the_table_of_the_default_is_made_of_its_runs():
    table = grid_tables.chosen_by_default(ROOT)
    assert markdown(table) in (ROOT / "docs" / "measured-frozen.md").read_text(encoding="utf-8")
    rows = read_rows(ROOT / "results" / "frozen-default" / "runs.parquet")
    worse = [row["final"] for row in rows if row["config"]["noise"].endswith("@worse")]
    (shown,) = (row for row in table.rows if row[0] == "human worse")
    for cell, name in zip(shown[1:3], ("test_accuracy", "memorized"), strict=True):
        values = [100 * final[name] for final in worse]
        assert (cell.mean, cell.deviation) == pytest.approx(
            (statistics.fmean(values), statistics.stdev(values))
        )
    assert len(table.rows) == 12
