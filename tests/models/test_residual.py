"""Residual networks: published sizes, wiring against plain functional code, initial weights."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d

from noisylabels.models import build_model
from noisylabels.models.catalog import parameter_count


@pytest.mark.parametrize(
    ("name", "num_classes", "count"),
    [
        # as printed by torchsummary and the like for kuangliu/pytorch-cifar's networks
        ("resnet18", 10, 11_173_962),
        ("resnet34", 10, 21_282_122),
        ("preact-resnet18", 10, 11_171_146),
        # DivideMix's has 2 * 64 more: the stem's batch normalization
        ("preact-resnet18@dividemix", 10, 11_171_146 + 128),
        # tables of osmr/imgclsmob; Zagoruyko and Komodakis 2016 give 11.0M, 36.5M, 2.2M
        ("wrn16-8", 10, 10_961_370),
        ("wrn28-10", 10, 36_479_194),
        ("wrn40-2", 10, 2_243_546),
        ("resnet50", 1000, 25_557_032),  # torchvision's documentation
        ("lenet", 10, 83_126),
    ],
)
def test_published_sizes(name, num_classes, count):
    assert parameter_count(name, num_classes=num_classes) == count


def test_sizes_counted_by_hand():
    # 1 -> 6: 150 + 6; 6 -> 16: 2 400 + 16; 400 -> 120 -> 84 -> 10: 48 120 + 10 164 + 850
    assert parameter_count("lenet", channels=1, side=28) == 156 + 2416 + 48_120 + 10_164 + 850
    widths = (3, 128, 128, 128, 256, 256, 256, 512, 256, 128)
    convolutions = sum(9 * i * o + o + 2 * o for i, o in itertools.pairwise(widths))
    assert parameter_count("cnn9") == convolutions + 128 * 10 + 10


class Weights:
    """A model's weights, returned one by one in the order in which its layers were created."""

    def __init__(self, model: nn.Module) -> None:
        kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
        self.layers: dict[type, Iterator[nn.Module]] = {
            kind: iter([m for m in model.modules() if type(m) is kind]) for kind in kinds
        }

    def conv(self, x: Tensor, stride: int = 1) -> Tensor:
        weight = next(self.layers[nn.Conv2d]).weight
        return conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2)

    def norm(self, x: Tensor) -> Tensor:
        """Batch normalization in evaluation mode, by its formula."""
        bn = next(self.layers[nn.BatchNorm2d])
        mean, var, gain, bias = (
            value.view(1, -1, 1, 1) for value in (bn.running_mean, bn.running_var, bn.weight, bn.bias)
        )
        return (x - mean) / (var + 1e-5).sqrt() * gain + bias

    def linear(self, x: Tensor) -> Tensor:
        layer = next(self.layers[nn.Linear])
        return x.mean((2, 3)) @ layer.weight.T + layer.bias


def plan(blocks, *, widens=False):
    """The stride of each block, and whether its shape changes."""
    for stage, count in enumerate(blocks):
        for i in range(count):
            yield (2 if stage and not i else 1), (not i and (stage > 0 or widens))


def plain_resnet(w, x, blocks):
    x = w.norm(w.conv(x)).relu()
    for stride, changes in plan(blocks):
        out = w.norm(w.conv(x, stride)).relu()
        out = w.norm(w.conv(out))
        x = (out + (w.norm(w.conv(x, stride)) if changes else x)).relu()
    return w.linear(x)


def plain_bottleneck(w, x, blocks):
    x = max_pool2d(w.norm(conv2d(x, next(w.layers[nn.Conv2d]).weight, stride=2, padding=3)).relu(), 3, 2, 1)
    for stride, changes in plan(blocks, widens=True):  # the first block widens by 4
        out = w.norm(w.conv(x)).relu()
        out = w.norm(w.conv(out, stride)).relu()
        out = w.norm(w.conv(out))
        x = (out + (w.norm(w.conv(x, stride)) if changes else x)).relu()
    return w.linear(x)


def plain_preact(w, x, blocks, *, dividemix=False, wide=False):
    x = w.conv(x)
    if dividemix:
        x = w.norm(x).relu()
    for stride, changes in plan(blocks, widens=wide):
        active = w.norm(x).relu()
        out = w.conv(w.norm(w.conv(active, stride)).relu())
        shortcut = active if dividemix else x
        x = out + (w.conv(active, stride) if changes else shortcut)
    return w.linear(w.norm(x).relu() if wide else x)


@pytest.mark.parametrize(
    ("name", "plain", "given"),
    [
        ("resnet18", plain_resnet, {"blocks": (2, 2, 2, 2)}),
        ("resnet34", plain_resnet, {"blocks": (3, 4, 6, 3)}),
        ("resnet50", plain_bottleneck, {"blocks": (3, 4, 6, 3)}),
        ("preact-resnet18", plain_preact, {"blocks": (2, 2, 2, 2)}),
        ("preact-resnet18@dividemix", plain_preact, {"blocks": (2, 2, 2, 2), "dividemix": True}),
        ("wrn16-8", plain_preact, {"blocks": (2, 2, 2), "wide": True}),
        ("wrn40-2", plain_preact, {"blocks": (6, 6, 6), "wide": True}),
    ],
)
def test_wired_as_plain_functional_code(name, plain, given):
    model = build_model(name, channels=3, image_size=(64, 64), num_classes=5, width=0.125)
    draw = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # each different, so that none can stand in for another
            for value in (module.running_mean, module.bias.data):
                value.copy_(0.3 * torch.randn(value.shape, generator=draw))
            for value in (module.running_var, module.weight.data):
                value.copy_(0.5 + torch.rand(value.shape, generator=draw))
    model = model.double().eval()
    images = torch.randn(2, 3, 64, 72, dtype=torch.float64, generator=draw)
    weights = Weights(model)
    with torch.no_grad():
        torch.testing.assert_close(model(images), plain(weights, images, **given), rtol=1e-9, atol=1e-9)
    for kind, left in weights.layers.items():
        assert next(left, None) is None, f"a {kind.__name__} is not used"


def convolutions(name, side=32):
    model = build_model(name, channels=3, image_size=(side, side), num_classes=10)
    return [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 3000]


@pytest.mark.parametrize(("name", "side"), [("wrn40-2", 32), ("resnet50", 64)])
def test_normal_weights_with_the_variance_of_fan_out(name, side):
    for module in convolutions(name, side):
        sigma = math.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels))
        # the standard error of a standard deviation is sigma / sqrt(2 n)
        error = 5 / math.sqrt(2 * module.weight.numel())
        assert module.weight.std().item() == pytest.approx(sigma, rel=error)
        assert module.weight.abs().max() > 2.5 * sigma  # not uniform, which ends at 1.73


@pytest.mark.parametrize(
    ("name", "gain"),
    [("resnet18", 6.0), ("cnn9", 1.0), ("preact-resnet18", 1.0)],
)
def test_uniform_weights_within_their_bound(name, gain):
    """Ma 2020: sqrt(6 / fan in). PyTorch's default: sqrt(1 / fan in)."""
    for module in convolutions(name):
        bound = math.sqrt(gain / (module.kernel_size[0] ** 2 * module.in_channels))
        assert 0.99 * bound < module.weight.abs().max() <= bound


def test_dropout_of_co_teachings_network_is_off_in_evaluation():
    model = build_model("cnn9", channels=1, image_size=(28, 28), num_classes=10, width=0.1)
    images = torch.randn(4, 1, 28, 28)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))
