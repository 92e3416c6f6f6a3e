"""The time of a study is estimated from a few steps of each kind of its cells, in at most 20 seconds."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest

from noisylabels.cli import main
from noisylabels.data.catalog import load
from noisylabels.experiment import load_config, run
from noisylabels.study import estimate as estimating
from noisylabels.study.estimate import Estimate, Kind, estimate, kinds
from noisylabels.study.grid import from_table, load_study
from noisylabels.study.probe import KNOWN, Measured, Shape, measure, random_set, shape_of

SMALL = {"data": "digits", "model": "small-cnn", "width": 0.5, "lr": 0.05}


def cells(**axes):
    table = {"fixed": {**SMALL, "epochs": 10}, "axes": {"seed": [1], **axes}}
    return [(cell, 10) for cell in from_table(table, "some").cells({"device": "cpu"})]


def test_an_estimate_is_within_a_factor_of_two_of_the_run(tmp_path):
    """Measured before and after, because the load of the machine may change."""
    config = load_config(None, **SMALL, device="cpu", epochs=8, loss="ce")
    load("digits")
    before = measure(config, 60.0)
    began = time.perf_counter()
    run(dataclasses.replace(config, out=str(tmp_path / "run")))
    took = time.perf_counter() - began
    after = measure(config, 60.0)
    low, high = sorted(each.setup + 8 * each.epoch for each in (before, after))
    assert before.how == "7 epochs"
    assert low / 2 < took < 2 * high


def test_an_epoch_from_steps_agrees_with_whole_epochs(monkeypatch):
    config = load_config(None, **SMALL, device="cpu", epochs=4)
    whole = min(measure(config, 60.0).epoch for _ in range(3))  # the least disturbed
    monkeypatch.setattr("noisylabels.study.probe.MOST_BYTES", 1)
    steps = [measure(config, 60.0), measure(config, 60.0)]
    assert all(
        each.how.startswith("27 steps of ") and each.how.endswith(" ms, 12 per epoch") for each in steps
    ), steps
    low, high = sorted(each.epoch for each in steps)
    assert low / 2.5 < whole < 2.5 * high


def test_shapes_are_known_without_the_data(tmp_path, monkeypatch):
    train, test = load("digits")
    assert KNOWN["digits"] == Shape(tuple(train.images.shape[1:]), 10, len(train), len(test))
    monkeypatch.setenv("NOISYLABELS_DATA", str(tmp_path))
    assert shape_of(load_config(None, data="cifar100", image_size=16)).inputs == (3, 16, 16)
    assert not any(tmp_path.iterdir())
    made = random_set(Shape((5,), 3, 10, 2), 7)
    assert made.features.shape == (7, 5)
    assert random_set(KNOWN["mnist"], 6).images.shape == (6, 1, 28, 28)


def test_a_table_of_ones_own_is_read_for_its_shape(tmp_path):
    rows = "\n".join(f"{i * 0.37:.2f},{i**0.5:.3f},{'ab'[i % 2]}" for i in range(40))
    (tmp_path / "t.csv").write_text(f"height,weight,label\n{rows}\n")
    config = load_config(None, data=str(tmp_path / "t.csv"), device="cpu", epochs=2)
    assert shape_of(config)[0:2] == ((2,), 2)
    assert measure(config, 0.2).epoch > 0


def test_kinds_differ_by_what_an_epoch_costs():
    found = kinds(cells(precision=["float16", "float32"], loss=["ce", "mae"], batch_size=[64, 128]))
    about = [(kind.config.precision, kind.config.batch_size, kind.epochs) for kind in found]
    assert sorted(about) == sorted((p, b, 20) for p in ("float16", "float32") for b in (64, 128))
    assert [precision for precision, _, _ in about] == ["float32"] * 2 + ["float16"] * 2
    paper = load_study("paper").cells({})
    assert len(kinds([(cell, 120) for cell in paper])) == 2


def test_times_of_kinds_are_added_by_epochs_left():
    one, other = kinds(cells(model=["mlp", "small-cnn"], loss=["ce", "mae"]))
    one = Kind(one.cells, Measured(2.0, 1.0, "9 epochs"))
    half = Kind(((other.cells[0][0], 5), other.cells[1]), Measured(4.0, 0.0, "3 of 12 steps"))
    assert Estimate((one, half), 2, 1, 9.0).by_cell == [21.0, 21.0, 20.0, 40.0]
    assert Estimate((one, half), 2, 1, 9.0).total == 51.0
    assert Estimate((one, half), 4, 1, 9.0).total == 40.0  # the longest cell
    unknown = Estimate((one, Kind(half.cells)), 1, 1, 9.0)
    assert unknown.by_cell[2:] == [10.0, 20.0]
    assert "not measured, counted like the mean of the others" in unknown.lines[2]
    assert unknown.lines[0].startswith("about 72 s: 10 s to 21 s per cell, 1 at a time")
    bound = Estimate((dataclasses.replace(one, measured=Measured(50.0, 0.0, "a step ...", True)),), 1, 1, 9.0)
    assert bound.lines[0] == "more than 17 min: 8 min per cell, 1 at a time"


def test_the_time_is_capped_and_nothing_is_downloaded(tmp_path, monkeypatch):
    """A process that never answers is killed, and its kinds are named as not measured."""
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path))
    monkeypatch.setattr(estimating, "worker_environment", lambda threads: {"PYTHONHOME": "/nowhere"})
    with pytest.raises(estimating.InputError, match="its process was killed"):
        estimate(cells()[:1], jobs=1)
    monkeypatch.undo()
    began = time.monotonic()
    found = estimate(cells(), jobs=1, seconds=0.3)
    assert time.monotonic() - began < 5
    assert found.kinds[0].measured is None
    assert found.lines[0].startswith("the time is unknown")


@pytest.mark.usefixtures("warm_workers")
def test_a_study_of_data_that_are_not_there_is_estimated(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOISYLABELS_DATA", str(tmp_path))
    Path("s.toml").write_text('[fixed]\ndata = "mnist"\nmodel = "mlp"\nwidth = 0.1\n[axes]\nseed = [1, 2]\n')
    assert main(["study", "show", "s.toml", "--jobs", "1"]) == 0
    out = capsys.readouterr().out
    assert "2 cells, 2 to run" in out
    assert "on random images in the shape of mnist" in out
    assert [path.name for path in tmp_path.iterdir()] == ["s.toml"]
