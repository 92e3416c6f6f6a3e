"""docs/measured-semi-supervised.md agrees with the runs in results/, and its studies with each other."""

from __future__ import annotations

import re
import statistics
import sys
from pathlib import Path

import pytest

from noisylabels.study.grid import load_study
from noisylabels.study.store import read_rows

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import semi_tables  # noqa: E402
from method_runs import Grid  # noqa: E402

PAGE = ROOT / "docs" / "measured-semi-supervised.md"


@pytest.fixture(scope="module")
def grids() -> dict[str, Grid]:
    return semi_tables.read(ROOT / "results")


def test_every_table_of_the_page_is_made_of_the_runs(grids):
    document = PAGE.read_text(encoding="utf-8")
    changed = re.sub(r"\d\.\d ±", "9.9 ±", document)
    assert changed != document
    assert semi_tables.renewed(changed, grids) == document
    names = [table.name for table in semi_tables.tables(grids)]
    assert len(names) == len(set(names)) == document.count("<!-- /")


def test_a_row_is_the_mean_of_its_runs(grids):
    """Read without `Grid`."""
    rows = read_rows(ROOT / "results" / "semi-digits-seconds" / "runs.parquet")
    mine = [row for row in rows if row["config"]["method"] == "elr"]
    noisy = [row for row in mine if row["config"]["noise"] == "symmetric:0.5@exact"]
    assert len(noisy) == 3
    values = [100 * row["final"]["test_accuracy"] for row in noisy]
    seconds = [sum(epoch["train_seconds"] for epoch in row["history"]) for row in mine]
    table = semi_tables.methods("digits-seconds", grids["digits-seconds"])
    (row,) = (row for row in table.rows if row[0] == "elr")
    assert row[1].mean == pytest.approx(statistics.fmean(values))
    assert row[1].deviation == pytest.approx(statistics.stdev(values))
    assert row[-2:] == [str(mine[0]["config"]["epochs"]), f"{statistics.median(seconds):.0f}"]


def test_the_studies_share_their_settings():
    for data in ("digits", "features"):
        plain, inside = (
            load_study(str(ROOT / "benchmarks" / "studies" / f"{name}-{data}.toml"))
            for name in ("semi", "semi-hybrids")
        )
        assert plain.fixed == inside.fixed | {"loss": "ce"}
        assert plain.axes["noise"] == inside.axes["noise"]
        assert set(semi_tables.METHODS) <= set(plain.axes["method"])
        assert set(semi_tables.INSIDE) == set(inside.axes["method"])
