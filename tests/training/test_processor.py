"""What a processor does badly is named before hours are spent on it, or is not asked of it."""

from __future__ import annotations

import pytest
import torch

import noisylabels as nl
from noisylabels.training.processor import corrupts_memory, slow_precision


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


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "found"),
    [(6, 1, 2, True), (3, 1, 2, True), (8, 1, 2, False), (6, 1, 1, False), (6, 3, 2, False)],
)
def test_convolutions_that_write_past_their_memory_are_not_in_channels_last(
    monkeypatch: pytest.MonkeyPatch, channels: int, kernel: int, stride: int, found: bool
) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(channels, 13, kernel, stride=stride, padding=kernel // 2))
    for capability in ("AVX2", "AVX512"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda name=capability: name)
        expected = found and capability == "AVX2"
        assert corrupts_memory(model, torch.device("cpu")) is expected
        assert not corrupts_memory(model, torch.device("cuda"))
        if channels == 3 and expected:  # with the memory intact, the run ends
            images = torch.randint(0, 255, (8, 3, 8, 8), dtype=torch.uint8)
            data = nl.image_set(images, torch.arange(8) % 2, ("a", "b"))
            network = torch.nn.Sequential(*model, torch.nn.Flatten(), torch.nn.Linear(13 * 16, 2))
            assert len(nl.fit(network, data, None, nl.loss("ce"), epochs=20, batch_size=8)) == 20
