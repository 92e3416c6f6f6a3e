"""docs/methods/own.md: the file is that of the example, has 25 lines at most, and its commands work."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

import noisylabels as nl
from methods.test_arithmetic import Fixed
from methods.test_contract import setup
from noisylabels.cli import main
from noisylabels.cli.parser import parse
from noisylabels.data.loader import Batch
from noisylabels.methods.expression import method
from noisylabels.study.results import read_results

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/methods/own.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples/own_method.py"


def block(kind: str) -> str:
    (found,) = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    return found


def test_the_page_shows_the_example():
    shown = block("python").removeprefix("# own_method.py\n")
    assert EXAMPLE.read_text(encoding="utf-8").endswith(shown)
    lines = [line for line in shown.splitlines() if line.strip()]
    assert len(lines) <= 25


def test_targets_follow_the_predictions_after_the_warmup():
    made = method(f"{EXAMPLE}:SelfAdaptive(momentum=0.6,warmup=2)")
    z, y = torch.randn(6, 4), torch.arange(6) % 4
    found = made(Fixed(z), nl.loss("ce"))
    facts = setup(6, 4)
    facts.labels.copy_(y)
    found.prepare(facts)
    positions = torch.arange(6)
    onehot, p = np.eye(4)[y], np.exp(z.numpy()) / np.exp(z.numpy()).sum(1, keepdims=True)
    for epoch, expected in ((1, onehot), (2, 0.6 * onehot + 0.4 * p)):
        value, _ = found.step(Batch(positions.float()[:, None], y, positions, epoch))
        np.testing.assert_allclose(found.targets, expected, rtol=1e-5)
        assert value.item() == pytest.approx(-(expected * np.log(p)).sum(1).mean(), rel=1e-5)
    assert found.columns()["certainty"] == pytest.approx(expected.max(1).mean(), rel=1e-5)


@pytest.mark.slow
def test_the_commands_of_the_page_train_and_report(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("own_method.py").write_text(block("python"), encoding="utf-8")
    Path("own.toml").write_text(block("toml"), encoding="utf-8")
    few = {"train": ["--epochs", "6", "--device", "cpu"], "study run": ["--set", "epochs=1", "device=cpu"]}
    for line in block("sh").replace("--jobs 2", "--jobs 0").splitlines():
        words = shlex.split(line)[1:]
        parse(words)
        more = next((extra for verb, extra in few.items() if " ".join(words).startswith(verb)), [])
        assert main(words + more) == 0, line
    (results,) = read_results([tmp_path / "runs" / "own"])
    assert len(results.losses) == 8
    assert "nce+mae by own_method.py:SelfAdaptive(momentum=0.95)" in results.losses
