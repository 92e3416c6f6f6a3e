"""Models: shapes, sizes counted by hand, weights from a named stream."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import nn

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.models import MODELS, build_model
from noisylabels.models.catalog import canonical_model, check_model
from noisylabels.models.layers import ConvBlock


def build(name, *, channels=3, image_size=(32, 32), num_classes=10, **given):
    return build_model(name, channels=channels, image_size=image_size, num_classes=num_classes, **given)


def linears(model):
    return [module for module in model.modules() if isinstance(module, nn.Linear)]


def size(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_every_model_is_visited():
    names = ["cnn8", "cnn9", "small-cnn", "lenet", "mlp", "mlp@dropout", "linear"]
    names += ["resnet18", "resnet34", "resnet50"]
    names += [
        "preact-resnet18",
        "preact-resnet18@dividemix",
        "efficientnet-lite0",
        "wrn16-8",
        "wrn28-10",
        "wrn40-2",
    ]
    assert list(MODELS) == names


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("channels", "image_size"), [(1, (8, 8)), (3, (32, 32)), (3, (9, 21)), (1, (28, 28)), (3, (71, 66))]
)
def test_shapes_forward_and_backward(name, channels, image_size):
    if min(image_size) < MODELS[name].smallest:
        with pytest.raises(InputError, match="too small"):
            build(name, channels=channels, image_size=image_size)
        return
    model = build(name, channels=channels, image_size=image_size, num_classes=7, width=0.1)
    out = model(torch.randn(3, channels, *image_size))
    assert out.shape == (3, 7)
    out.square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_the_smallest_image_and_one_too_small(name):
    low = MODELS[name].smallest
    model = build(name, image_size=(low, low), width=0.1).eval()
    assert model(torch.randn(1, 3, low, low)).shape == (1, 10)  # a batch of one, in evaluation mode
    if low > 1:
        with pytest.raises(
            InputError, match=rf"images of 80x{low - 1} are too small .* which needs {low}x{low} or more"
        ):
            build(name, image_size=(80, low - 1))


def test_the_papers_network_counted_by_hand():
    """A block is a 3x3 convolution (9 * in * out weights, out biases) and 2 * out of batch normalization.

    3 -> 64       1 728 +  64 + 128 =   1 920
    64 -> 64     36 864 +  64 + 128 =  37 056
    64 -> 128    73 728 + 128 + 256 =  74 112
    128 -> 128  147 456 + 128 + 256 = 147 840
    128 -> 196  225 792 + 196 + 392 = 226 380
    196 -> 196  345 744 + 196 + 392 = 346 332
    196 * 4 * 4 = 3136 -> 256: 802 816 + 256, and 512 of batch normalization = 803 584
    256 -> 10     2 560 + 10 = 2 570
    together 1 639 794
    """
    model = build("cnn8")
    assert size(model) == 1_639_794
    assert [(layer.in_features, layer.out_features) for layer in linears(model)] == [(3136, 256), (256, 10)]
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [64, 64, 128, 128, 196, 196]
    assert all(layer.bias is not None for layer in convolutions)
    assert len(convolutions) + len(linears(model)) == 8
    assert sum(isinstance(module, nn.MaxPool2d) for module in model.modules()) == 3


def test_the_small_networks_counted_by_hand():
    # 1 -> 32: 288 + 32 + 64 = 384; 32 -> 64: 18 432 + 64 + 128 = 18 624; 64 * 7 * 7 = 3136 -> 128:
    # 401 408 + 128 + 256 = 401 792; 128 -> 10: 1 290
    assert size(build("small-cnn", channels=1, image_size=(28, 28))) == 384 + 18_624 + 401_792 + 1_290
    # 64 -> 256: 16 640 + 512; 256 -> 128: 32 896 + 256; 128 -> 10: 1 290
    assert size(build("mlp", channels=1, image_size=(8, 8))) == 17_152 + 33_152 + 1_290


@pytest.mark.parametrize("width", [1e6, 1e30, 1.7e308])
def test_a_width_beyond_any_memory_is_refused(width):
    with pytest.raises(InputError, match=r"width is .* layers of more than 16,777,216 units; give a smaller"):
        build("mlp", image_size=(8, 8), width=width)


@pytest.mark.parametrize("name", MODELS)
def test_width_scales_every_layer_but_the_last(name):
    side = max(32, MODELS[name].smallest)
    with torch.device("meta"):  # shapes only
        half, whole = build(name, image_size=(side, side), width=0.5), build(name, image_size=(side, side))
    compared = 0
    for a, b in zip(half.modules(), whole.modules(), strict=True):
        for key in ("out_channels", "out_features", "num_features"):
            if hasattr(a, key) and getattr(b, key) != 10:
                assert getattr(a, key) == getattr(b, key) / 2
                compared += 1
    assert compared >= {"linear": 0, "mlp@dropout": 2}.get(name, 4)
    narrow = build(name, image_size=(side, side), width=1e-9)
    last = {"resnet50": 4, "linear": 3 * side * side}.get(name, 1)  # linear has no layer but the last
    assert linears(narrow)[-1].in_features == last
    for bad in (0, -1, math.nan, math.inf):
        with pytest.raises(InputError, match="width is"):
            build(name, width=bad)


@pytest.mark.parametrize("name", MODELS)
def test_weights_come_from_a_stream_of_their_own(name):
    size = (max(32, MODELS[name].smallest),) * 2
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = build(name, image_size=size, width=0.2, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    again = build(name, image_size=size, width=0.2, seed=1)
    other = build(name, image_size=size, width=0.2, seed=2)
    for key, value in first.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)
    assert not torch.equal(linears(first)[0].weight, linears(other)[0].weight)


@pytest.mark.parametrize("name", MODELS)
def test_half_precision_and_channels_last_agree_with_float32(name):
    side = max(32, MODELS[name].smallest)
    model = build(name, image_size=(side, side), width=0.1).eval()
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = model(images)
        for dtype, near in ((torch.bfloat16, 0.05), (torch.float16, 0.01)):
            with torch.autocast("cpu", dtype):
                half = model(images)
            assert half.dtype == dtype
            assert (half.float() - plain).abs().max() <= near * plain.abs().max()
        model.to(memory_format=torch.channels_last)
        torch.testing.assert_close(
            model(images.contiguous(memory_format=torch.channels_last)), plain, rtol=1e-3, atol=1e-4
        )


def test_a_block_without_the_sum_of_its_bias_is_the_block():
    torch.manual_seed(0)
    plain, short = ConvBlock(3, 8), ConvBlock(3, 8)
    short.load_state_dict(plain.state_dict())
    for _ in range(3):
        images = torch.randn(16, 3, 8, 8)
        ups = torch.randn(16, 8, 8, 8)
        ends = []
        for block, call in ((plain, plain), (short, short.without_bias)):
            block.zero_grad()
            out = call(images)
            out.backward(ups)
            ends.append([out, block[0].weight.grad, block[1].weight.grad, block[1].bias.grad])
        for ours, theirs in zip(*ends, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        assert plain[0].bias.grad.abs().max() < 1e-4
        assert not short[0].bias.grad.any()
    for ours, theirs in zip(short.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)
    plain.eval(), short.eval()
    torch.testing.assert_close(short(images), plain(images))


def test_when_the_bias_of_a_block_is_idle():
    block = ConvBlock(3, 8)
    assert block.bias_is_idle()
    block[1].eval()  # frozen statistics: the bias counts
    assert not block.bias_is_idle()
    block.train()
    block[1].momentum = None
    assert not block.bias_is_idle()
    assert not nn.SyncBatchNorm.convert_sync_batchnorm(ConvBlock(3, 8)).bias_is_idle()
    assert not ConvBlock(3, 8).eval().bias_is_idle()


@pytest.mark.parametrize("name", MODELS)
def test_weights_go_through_a_file(name, tmp_path):
    size = (max(32, MODELS[name].smallest),) * 2
    model = build(name, image_size=size, width=0.1, seed=1)
    save_model(model, tmp_path / "m.safetensors")  # tells of tensors that share memory
    other = build(name, image_size=size, width=0.1, seed=2)
    assert load_model(other, tmp_path / "m.safetensors") == (set(), [])
    for key, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)


@pytest.mark.parametrize("name", MODELS)
def test_each_model_learns_a_few_digits(name):
    digits, _ = nl.load("digits")
    side = max(8, MODELS[name].smallest)
    pixels = digits.images[:40].repeat_interleave(side // 8 + 1, 2).repeat_interleave(side // 8 + 1, 3)
    few = nl.image_set(pixels[..., :side, :side], digits.labels[:40], digits.class_names)
    model = build(name, channels=1, image_size=(side, side), width=0.1)
    history = nl.fit(model, few, few, nl.loss("ce"), epochs=8, batch_size=8, lr=0.02, device="cpu")
    losses = history.column("train_loss")
    assert losses[-1] < losses[0]


def test_weights_have_the_spread_of_the_reference_code():
    model = build("cnn8")
    for module in model.modules():
        if isinstance(module, nn.Conv2d):  # Kaiming uniform: within sqrt(6 / fan in)
            bound = math.sqrt(6 / (9 * module.in_channels))
        elif isinstance(module, nn.Linear):  # Xavier uniform: within sqrt(6 / (in + out))
            bound = math.sqrt(6 / (module.in_features + module.out_features))
        else:
            continue
        assert module.weight.abs().max() <= bound
        assert module.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_unknown_model():
    with pytest.raises(InputError, match="unknown model 'resnet19'; did you mean 'resnet18'"):
        build("resnet19")


@pytest.mark.parametrize("name", ["mlp:", "mlp:0", "mlp:12,", "mlp:1.5", "mlp:-3", "resnet18:", ":", "a:b c"])
def test_a_spec_that_cannot_be_read(name):
    for function in (build, canonical_model, check_model):
        with pytest.raises(InputError, match="cannot be parsed") as error:
            function(name)
        assert "\n" not in str(error.value)


def test_names_are_spelled_canonically(tmp_path):
    for name in (*MODELS, "auto", "mlp:12,3", "timm:resnet50,pretrained", "timm:vit_tiny", "pkg.nets:Net"):
        assert canonical_model(name) == name
    assert canonical_model("./a/../nets.py:build") == "nets.py:build"


def test_hidden_layers_by_name():
    model = build("mlp:20,30,40", image_size=(4, 4), width=0.5)
    assert [layer.out_features for layer in linears(model)] == [10, 15, 20, 10]
