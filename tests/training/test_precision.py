"""A precision without instructions of the processor is named before hours are spent on it."""

from __future__ import annotations

import pytest
import torch

import noisylabels as nl
from noisylabels.training.precision import slow_precision


class Mkldnn:
    """What PyTorch says of a processor."""

    def __init__(self, bfloat16: bool, float16: bool) -> None:
        self._is_mkldnn_bf16_supported = lambda: bfloat16
        self._is_mkldnn_fp16_supported = lambda: float16


@pytest.mark.parametrize("bfloat16", [True, False])
@pytest.mark.parametrize("float16", [True, False])
def test_what_the_processor_cannot_do_is_noted(
    monkeypatch: pytest.MonkeyPatch, bfloat16: bool, float16: bool
) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", Mkldnn(bfloat16, float16))
    has = {"float32": True, "bfloat16": bfloat16, "float16": float16}
    for precision, known in has.items():
        text = slow_precision(precision, torch.device("cpu"))
        assert text.startswith(f"this processor has no instructions for {precision}: ") is not known
        assert slow_precision(precision, torch.device("cuda")) == ""


def test_a_version_that_does_not_say_it_is_no_reason_for_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert slow_precision("bfloat16", torch.device("cpu")) == ""


def test_a_loop_of_your_own_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "noisylabels.training.loop.slow_precision", lambda precision, device: f"{precision} is slow"
    )
    train, test = nl.load("digits")
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    with pytest.warns(UserWarning, match="bfloat16 is slow"):
        nl.fit(model, train, test, nl.loss("ce"), epochs=1, precision="bfloat16")
