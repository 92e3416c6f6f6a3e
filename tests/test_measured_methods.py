"""docs/measured-methods.md agrees with the runs in results/, and its statistics with direct computations."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from noisylabels.study.grid import load_study
from noisylabels.study.store import read_rows

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import method_tables  # noqa: E402
from method_figure import figure  # noqa: E402
from method_runs import HYBRID, Grid, words  # noqa: E402

PAGE = "docs/measured-methods.md"
DATA = method_tables.INSIDE


@pytest.fixture(scope="module")
def grids() -> dict[str, Grid]:
    return method_tables.read(ROOT / "results")


def test_every_table_of_the_page_is_made_of_the_runs(grids):
    document = (ROOT / PAGE).read_text(encoding="utf-8")
    assert method_tables.renewed(document, grids) == document
    names = [table.name for table in method_tables.tables(grids)]
    assert len(names) == len(set(names)) == document.count("<!-- /")
    changed = re.sub(r"\d\.\d ±", "9.9 ±", document)
    assert changed != document
    assert method_tables.renewed(changed, grids) == document
    with pytest.raises(SystemExit, match="has no place for answer"):
        method_tables.renewed("nothing", grids)


def test_the_figure_is_that_of_the_runs(grids):
    folder = ROOT / "results" / "methods"
    assert method_tables.digests(grids) == json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    assert (folder / "hybrids.svg").exists()
    assert "results/methods/hybrids.svg" in (ROOT / PAGE).read_text(encoding="utf-8")
    panels = figure(grids, DATA).panels
    assert panels
    assert {len(panel.rows) for panel in panels} == {len(HYBRID) * len(grids[data].losses) for data in DATA}


def test_the_gain_of_sums_is_that_of_the_rows():
    """Accuracies read without `Grid`, differences per seed by NumPy, and the interval by SciPy."""
    found: dict[tuple[str, str, int], float] = {}
    for row in read_rows(ROOT / "results" / "hybrids-digits" / "runs.parquet"):
        config = row["config"]
        if config["noise"] == "symmetric:0.4@exact":
            key = config.get("method", "standard"), config["loss"], config["seed"]
            found[key] = row["final"]["test_accuracy"]
    seeds = sorted({seed for *_, seed in found})
    spelled = ["nce+rce", "nce+mae", "nfl+rce", "5*nce+5*nnce"]  # anl_ce is the last one
    inside = np.array([[found["coteaching", loss, seed] for loss in spelled] for seed in seeds])
    ce = np.array([found["coteaching", "ce", seed] for seed in seeds])
    gains = (inside - ce[:, None]).mean(axis=1)
    low, high = stats.t.interval(0.95, len(seeds) - 1, gains.mean(), stats.sem(gains))
    grid = method_tables.read(ROOT / "results")["digits"]
    pooled = method_tables.pooled(grid, "coteaching", "ce", "symmetric 0.4")
    assert (pooled.mean, pooled.low, pooled.high) == pytest.approx((gains.mean(), low, high))
    alone = {loss: np.mean([found["standard", loss, s] for s in seeds]) for loss in ("ce", "gce", *spelled)}
    best = max(alone, key=lambda loss: alone[loss])
    assert grid.best("symmetric 0.4") == {spelled[-1]: "anl_ce"}.get(best, best)


def test_a_sum_beats_both_only_with_both_intervals_above_zero():
    def made(inside: Sequence[float], ce: Sequence[float], alone: Sequence[float]) -> Grid:
        noise = "symmetric 0.4"
        cells = {("elr", "nce+mae"): inside, ("elr", "ce"): ce, ("standard", "gce"): alone}
        accuracy = {(*key, noise): dict(enumerate(values)) for key, values in cells.items()}
        return Grid("made", 100, accuracy)

    high, low, spread = (0.90, 0.91, 0.92), (0.80, 0.81, 0.83), (0.60, 0.99, 0.70)
    cases = {
        (high, low, low): (True, True),
        (high, low, spread): (True, False),
        (high, spread, low): (True, False),
        (low, high, spread): (False, False),
        (low, spread, high): (False, False),
    }
    for values, expected in cases.items():
        assert method_tables.beaten(made(*values), "elr", "nce+mae", "symmetric 0.4") == expected


def test_noises_are_named_as_in_the_tables():
    assert words("symmetric:0.4@exact") == "symmetric 0.4"
    assert words("asymmetric:0.4@cifar10") == "asymmetric 0.4"
    assert words("human:cifar10n-tenth.parquet@worse") == "human worse"


@pytest.mark.parametrize(
    ("name", "study"),
    [
        ("hybrids-digits", "hybrids-digits"),
        ("hybrids-features", "hybrids-features"),
        ("methods-digits", "methods-digits"),
        ("methods-features", "methods-features"),
        ("methods-checks", "methods-checks"),
        ("hybrids-digits-cnn", "hybrids-digits"),
    ],
)
def test_the_studies_go_on_from_the_runs(name, study):
    source = str(ROOT / "benchmarks" / "studies" / f"{study}.toml")
    changed = {"model": "small-cnn", "epochs": 30} if name.endswith("cnn") else {}
    cells = {cell.run_id for cell in load_study(source).cells(changed, labels="cifar10n-tenth.parquet")}
    runs = {row["run_id"] for row in read_rows(ROOT / "results" / name / "runs.parquet")}
    assert runs
    assert runs <= cells
