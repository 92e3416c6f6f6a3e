"""The benchmarks run; their results are not tested."""

from __future__ import annotations

import pytest

from noisylabels.bench.data import batch_rate, decode_ratio
from noisylabels.bench.losses import loss_ratio
from noisylabels.bench.timing import compare
from noisylabels.bench.train import step_ratio
from noisylabels.cli import main
from noisylabels.core.checks import InputError


def test_a_ratio_is_that_of_the_times(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def taking(seconds):
        def function():
            clock[0] += seconds

        return function

    found = compare(taking(0.004), taking(0.001), rounds=4, seconds=0.008)
    assert found.median == pytest.approx(4)
    assert found.low == pytest.approx(4)
    assert found.high == pytest.approx(4)
    assert found.seconds == pytest.approx(0.004)
    assert found.baseline_seconds == pytest.approx(0.001)
    assert found.rounds == 4
    with pytest.raises(InputError, match="rounds"):
        compare(int, int, rounds=1)


def test_each_measurement_runs():
    for found in (
        loss_ratio("nce+mae", (16, 3), rounds=2),
        step_ratio(model="mlp", batch_size=64, precision="float32", rounds=2),
        decode_ratio(40, rounds=2),
    ):
        assert found.median > 0
        assert found.rounds == 2
    assert batch_rate(300, batch_size=50, seconds=0.05) > 0


def test_the_verb_prints_a_table(capsys):
    assert main(["bench", "losses", "--loss", "ce", "mae", "--shapes", "8x3", "--rounds", "2"]) == 0
    shown = capsys.readouterr().out
    assert "8 x 3" in shown
    assert "mae" in shown
    assert "2 rounds" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["losses", "--shapes", "128"], "expected NxK"),
        (["losses", "--shapes", "8x1"], "K of 2 or more"),
        (["losses", "--loss", "nec"], "did you mean 'nce'"),
        (["train", "--model", "cnn99"], "cnn99"),
        (["train", "--precision", "float33"], "float33"),
        (["data", "--threads", "0"], "--threads"),
        (["losses", "--rounds", "1"], "--rounds"),
    ],
)
def test_errors_are_one_line(words, message, capsys):
    assert main(["bench", *words]) == 2
    assert message in capsys.readouterr().err
