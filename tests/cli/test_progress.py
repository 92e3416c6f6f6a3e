"""Progress: one line per minute in a log, with fold, epoch, rate and time left."""

from __future__ import annotations

import re

import pytest

from noisylabels.cli.pace import Pace
from noisylabels.cli.progress import Progress
from noisylabels.cli.terminal import TerminalReporter
from noisylabels.study.grid import from_table
from noisylabels.study.scheduling import carry_out_all
from noisylabels.study.store import Store


class Clock:
    """A clock that moves only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.splitlines()


def test_a_log_gets_one_line_per_minute(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with TerminalReporter(20, 4, clock) as reporter:
        reporter.start("training cnn8 on 3,500 examples")
        for epoch in range(1, 31):  # 10 steps of 3 s each: 30 s per epoch
            for step in range(1, 11):
                clock.now += 3.0
                reporter.step(epoch, step, 10)
            reporter.epoch({"epoch": epoch, "test_accuracy": None})
    found = lines(capsys)
    assert found[0] == "training cnn8 on 3,500 examples"
    assert len(found) == 1 + 15 + 1
    assert found[1] == "fold 1/4, epoch 2/20, 0.333 steps/s, about 39 min left"
    assert found[-2] == "fold 2/4, epoch 10/20, 0.333 steps/s, about 25 min left"
    assert found[-1] == "ended after 15 min"


def test_short_work_gets_no_line_but_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with TerminalReporter(2, clock=clock) as reporter:
        reporter.start("training mlp")
        for epoch in (1, 2):
            clock.now += 20
            reporter.step(epoch, 1, 1)
    assert lines(capsys) == ["training mlp"]


def test_downloads_and_decoding_are_logged_too(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with TerminalReporter(2, clock=clock) as reporter:
        for i in range(240):
            reporter.decoding("decoding photos", 100 * i, 50_000)
            clock.now += 1
    assert lines(capsys) == [
        "decoding photos: 6,000 of 50,000 images, 100 images/s, about 7 min left",
        "decoding photos: 12,000 of 50,000 images, 100 images/s, about 6 min left",
        "decoding photos: 18,000 of 50,000 images, 100 images/s, about 5 min left",
        "ended after 4 min",
    ]


def test_the_accuracy_stands_beside_the_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with TerminalReporter(3, clock=clock) as reporter:
        reporter.step(1, 1, 1)
        reporter.epoch({"epoch": 1, "test_accuracy": 0.913})
        clock.now += 61
        reporter.step(2, 1, 1)
    assert lines(capsys)[0] == "epoch 2/3, test 91.3 %, 0.0164 steps/s, about 61 s left"


def test_nothing_says_it_ended_that_was_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()

    def stopped() -> None:
        with TerminalReporter(3, clock=clock) as reporter:
            clock.now += 61
            reporter.step(1, 1, 9)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert lines(capsys) == ["epoch 1/3"]


def test_folds_that_end_early_shorten_the_time_left() -> None:
    clock = Clock()
    pace = Pace(20, 4, clock)
    for epoch in [*range(1, 11), *range(21, 26)]:  # the first fold ends after 10 epochs
        clock.now += 2
        pace.step(epoch, 1, 1)
    assert pace.place == "fold 2/4, epoch 5/20"
    assert pace.rate == pytest.approx(0.5)
    assert pace.left == pytest.approx(2 * (5 + 10 + 10))


def test_a_resumed_training_counts_its_own_steps_and_another_starts_anew() -> None:
    clock = Clock()
    pace = Pace(10, clock=clock)
    for epoch in (8, 9):
        clock.now += 4
        pace.step(epoch, 1, 1)
    assert (pace.rate, pace.left) == (0.25, 4.0)
    for epoch in (1, 2):  # the next trial of a search
        clock.now += 1
        pace.step(epoch, 1, 1)
    assert (pace.rate, pace.left) == (1.0, 8.0)


def test_a_study_logs_its_running_cells(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    table = {
        "fixed": {"data": "digits", "model": "mlp", "width": 0.1, "epochs": 3},
        "axes": {"loss": ["ce"], "seed": [1]},
    }
    cells, clock = from_table(table, "one").cells({"device": "cpu"}), Clock()
    store = Store(tmp_path / "one")
    store.note("one", cells)
    view = Progress(store, ["waiting"], clock)
    tick = view.tick

    def slow() -> None:
        clock.now += 2.5
        tick()

    view.tick = slow  # type: ignore[method-assign]
    with view:
        carry_out_all(store, cells, view, jobs=0)
    found = lines(capsys)
    assert len(found) == 2
    assert re.fullmatch(r"0 of 1 cells done.*, running: ce-seed1-\w+ in epoch \d/3", found[0]), found
    assert found[1].startswith("1/1 ce-seed1-")
