"""What the tests of studies share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _time_for_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `study show` measure briefly, and on a busy machine wait for its processes."""
    monkeypatch.setattr("noisylabels.study.estimate.KIND_SECONDS", 0.5)
    monkeypatch.setattr("noisylabels.study.estimate.PROBE_SECONDS", 120.0)
