"""What the tests of studies share."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from noisylabels.study import estimate, executors
from warm_process import WarmPopen


@pytest.fixture(autouse=True)
def _time_for_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `study show` measure briefly, and on a busy machine wait for its processes."""
    monkeypatch.setattr("noisylabels.study.estimate.KIND_SECONDS", 0.5)
    monkeypatch.setattr("noisylabels.study.estimate.PROBE_SECONDS", 120.0)


@pytest.fixture
def warm_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the processes of a study, instead of starting an interpreter for each, see `warm_process`."""

    def start(command: list[str], **how: Any) -> WarmPopen:
        assert command[0] == sys.executable
        return WarmPopen(command[1:], **how)

    warm = SimpleNamespace(**vars(subprocess) | {"Popen": start})
    for module in (executors, estimate):
        monkeypatch.setattr(module, "subprocess", warm)
