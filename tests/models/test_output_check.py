"""A model that does not fit the data raises a one-line error, from Python too."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.models.output_check import first_logits, try_out


class Tuple(nn.Linear):
    def forward(self, x):
        return super().forward(x.flatten(1)), x


def digits(name="mlp", channels=1, num_classes=10):
    return nl.build_model(name, channels=channels, image_size=(8, 8), num_classes=num_classes, width=0.1)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            lambda: digits("small-cnn", channels=3),
            ["fails on images of shape (128, 1, 8, 8)", "3 channels"],
        ),
        (lambda: digits(channels=3), ["fails on images of shape (128, 1, 8, 8)", "RuntimeError"]),
        (lambda: digits(num_classes=7), ["returns (128, 7)", "(128, 10)", "each of 10 classes"]),
        (lambda: digits(num_classes=1000), ["returns (128, 1000)"]),
        (lambda: Tuple(64, 10), ["returns a tuple"]),
    ],
)
def test_fit_says_what_does_not_fit_and_keeps_the_cause(tmp_path, model, words):
    train, test = nl.load("digits")
    with pytest.raises(InputError) as error:
        nl.fit(model(), train, test, nl.loss("ce"), epochs=1, device="cpu", folder=tmp_path, lr=0.1)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)
    assert isinstance(error.value.__cause__, RuntimeError) == ("fails on" in words[0])
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_anything_to_train():
    train, test = nl.load("digits")
    frozen = digits().requires_grad_(False)
    with pytest.raises(InputError, match="expected at least one to train"):
        nl.fit(frozen, train, test, nl.loss("ce"), epochs=1, device="cpu")


def test_lack_of_memory_and_errors_of_ours_pass_as_they_are():
    class Raises(nn.Module):
        def __init__(self, error):
            super().__init__()
            self.error = error

        def forward(self, x):
            raise self.error

    errors = (
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: not enough memory"),
        MemoryError(),
        InputError("ours"),
    )
    for error in errors:
        with pytest.raises(type(error)) as raised:
            first_logits(Raises(error), torch.zeros(2, 1, 2, 2), 3)
        assert raised.value is error


def test_the_trial_leaves_a_model_as_it_was():
    model = digits("small-cnn")
    model[1].eval()  # a part that its author froze
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    try_out(model, "it", channels=1, image_size=(8, 8), num_classes=10)
    assert [module.training for module in model.modules()] == modes
    assert len(set(modes)) == 2
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
