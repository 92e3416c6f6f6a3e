"""The simulated cluster comes to what can be computed by hand."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from simulate_cluster import Options, simulate


def test_without_failures_cells_run_in_rounds():
    options = Options(machines=3, slots=4, start_seconds=10)
    found = simulate(30, 50.0, options, 5.0, math.inf, np.random.default_rng(0))
    assert (found.seconds, found.failures, found.lost) == (3 * 60.0, 0, 0.0)


def test_a_failure_costs_what_was_done_since_the_checkpoint():
    class Once:
        """Fails the one machine after 37 seconds, and never again."""

        times = iter([37.0, 1e9])

        def exponential(self, mean: float) -> float:
            return next(self.times)

    options = Options(machines=1, slots=1, start_seconds=10, repair_minutes=1)
    found = simulate(1, 50.0, options, 5.0, 1.0, Once())
    # 27 seconds of work, 25 of them kept; then the repair, the start, and the other 25
    assert found.lost == pytest.approx(37 - 25)
    assert found.seconds == pytest.approx(37 + 60 + 10 + 25)
    assert found.failures == 1
