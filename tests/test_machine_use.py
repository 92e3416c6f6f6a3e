"""The record of how busy the machine was during a run."""

from __future__ import annotations

import json
import os

import pytest

from noisylabels.core.interrupt import Interrupted
from noisylabels.experiment import RunConfig, run
from noisylabels.experiment.machine_use import JOBS, had_machine_alone
from noisylabels.study.executors import worker_environment


def test_a_run_records_the_highest_load_and_how_many_runs_there_were(tmp_path, monkeypatch):
    loads = iter([0.9, 2.5, 1.1])
    monkeypatch.setattr(os, "getloadavg", lambda: (next(loads), 9.0, 9.0))
    monkeypatch.setenv(JOBS, "3")
    out = tmp_path / "run"
    run(RunConfig(data="digits", loss="ce", epochs=3, train_share=0.1, out=str(out)))
    found = json.loads((out / "environment.json").read_text())
    assert found["use"] == {"jobs": 3, "load": 2.5}
    assert "identity" in found
    assert not had_machine_alone(found)


def test_a_load_that_is_unknown_is_recorded_as_such(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "getloadavg")
    out = tmp_path / "run"
    run(RunConfig(data="digits", loss="ce", epochs=1, train_share=0.1, out=str(out)))
    found = json.loads((out / "environment.json").read_text())
    assert found["use"] == {"jobs": 1, "load": None}
    assert not had_machine_alone(found)


def test_a_resumed_run_keeps_what_it_found_before(tmp_path, monkeypatch):
    loads = iter([3.5, 0.9, 1.1])
    monkeypatch.setattr(os, "getloadavg", lambda: (next(loads), 9.0, 9.0))
    out = tmp_path / "run"
    config = RunConfig(data="digits", loss="ce", epochs=3, train_share=0.1, checkpoint_epochs=1, out=str(out))
    monkeypatch.setenv(JOBS, "4")
    with pytest.raises(Interrupted):
        run(config, stop=lambda: (out / "history.jsonl").exists())
    monkeypatch.setenv(JOBS, "1")  # alone from then on
    run(config)
    found = json.loads((out / "environment.json").read_text())
    assert found["use"] == {"jobs": 4, "load": 3.5}


@pytest.mark.parametrize(
    ("environment", "alone"),
    [
        ({"threads": 1, "gpu": None, "use": {"jobs": 1, "load": 1.5}}, True),
        ({"threads": 1, "gpu": None, "use": {"jobs": 1, "load": 1.6}}, False),
        ({"threads": 4, "gpu": None, "use": {"jobs": 1, "load": 4.2}}, True),
        ({"threads": 1, "gpu": None, "use": {"jobs": 2, "load": 0.1}}, False),
        ({"threads": 1, "cores": 8, "gpu": "a GPU", "use": {"jobs": 1, "load": 6.0}}, True),
        ({"threads": 1, "gpu": None}, False),  # an older version
        ({}, False),  # a run that could not start
    ],
)
def test_which_runs_had_the_machine_to_themselves(environment, alone):
    assert had_machine_alone(environment) is alone


def test_a_study_tells_its_workers_how_many_they_are():
    assert worker_environment(1, jobs=4)[JOBS] == "4"
    assert worker_environment(1)[JOBS] == "1"
