"""timm's models as encoders, with a stand-in for timm: it would bring torchvision.

The stand-in has the functions that are called, with the signatures and the results of timm 1.0
(`timm/models/_factory.py`, `timm/data/config.py`). Its preprocessing is compared with PIL's.
"""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from noisylabels.core.checks import InputError
from noisylabels.encoders.catalog import find_encoder
from noisylabels.encoders.timm_encoder import timm_preprocessing

CONFIG = {
    "input_size": (3, 28, 28),
    "interpolation": "bicubic",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "crop_pct": 0.875,
    "crop_mode": "center",
}


@dataclass
class Pretrained:
    fixed_input_size: bool
    hf_hub_id: str | None = None


class Backbone(nn.Module):
    """Four features: a convolution, pooled."""

    def __init__(self, num_classes: int, img_size: int | None = None) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, num_classes) if num_classes else nn.Identity()

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))


@pytest.fixture
def timm(monkeypatch):
    made, data = types.ModuleType("timm"), types.ModuleType("timm.data")
    made.calls, made.config, made.seed, made.hub = [], dict(CONFIG), 0, None

    def create_model(model_name, pretrained=False, num_classes=1000, **kwargs):
        made.calls.append((model_name, pretrained, num_classes, kwargs))
        torch.manual_seed(made.seed)
        return Backbone(num_classes, **kwargs)

    made.is_model = lambda name: name in ("conv", "vit", "bare")
    made.list_models = lambda: ["conv", "vit", "bare"]
    made.is_model_pretrained = lambda name: name != "bare"
    made.get_pretrained_cfg = lambda name: Pretrained(name == "vit", made.hub)
    made.create_model, made.data = create_model, data
    data.resolve_model_data_config = lambda model: made.config
    monkeypatch.setitem(sys.modules, "timm", made)
    monkeypatch.setitem(sys.modules, "timm.data", data)
    return made


def test_the_network_has_no_classifier_and_its_own_preprocessing(timm):
    encoder = find_encoder("timm:conv", device="cpu", precision="float32")
    assert timm.calls == [("conv", True, 0, {})]
    assert encoder.dimension == 4
    found = encoder.preprocessing
    assert (found.size, found.resized, found.squash, found.interpolation) == (28, 32, False, "bicubic")
    images = torch.randint(0, 256, (3, 3, 28, 28), dtype=torch.uint8)
    torch.manual_seed(0)
    wanted = Backbone(0)(found(images))
    torch.testing.assert_close(encoder.encode(images), wanted.detach(), atol=1e-5, rtol=1e-4)


def test_a_size_is_given_to_networks_that_have_a_fixed_one(timm):
    assert find_encoder("timm:vit@42", device="cpu").preprocessing.size == 42
    assert find_encoder("timm:conv@42", device="cpu").preprocessing.resized == 48
    assert [call[3] for call in timm.calls] == [{"img_size": 42}, {}]


def test_other_weights_are_another_encoder(timm):
    keys = []
    for seed in (0, 0, 1):
        timm.seed = seed
        keys.append(find_encoder("timm:conv", device="cpu").key)
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize("shape", [(70, 50), (20, 31), (28, 28)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_preprocessing_is_that_of_pil(mode, shape, interpolation):
    config = CONFIG | {"crop_mode": mode, "interpolation": interpolation}
    found = timm_preprocessing(config, None, "timm:conv")
    values = np.random.default_rng(1).integers(0, 256, (*shape, 3)).astype(np.uint8)
    ours = found(torch.from_numpy(values).permute(2, 0, 1)[None])[0].numpy()

    # torchvision: Resize(floor(size / crop_pct)), CenterCrop(size), ToTensor, Normalize
    height, width = shape
    short = min(shape)
    size = (32, 32) if mode == "squash" else (int(32 * width / short), int(32 * height / short))
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    # in this order, which PIL takes for most sizes: each pass rounds
    wide = Image.fromarray(values).resize((size[0], height), filters[interpolation])
    image = np.asarray(wide.resize(size, filters[interpolation]))
    top, left = ((side - 28) // 2 for side in image.shape[:2])
    cut = image[top : top + 28, left : left + 28] / 255
    wanted = ((cut - np.array(CONFIG["mean"])) / np.array(CONFIG["std"])).transpose(2, 0, 1)
    assert (np.abs(ours - wanted) * np.array(CONFIG["std"])[:, None, None] * 255).max() < 1.5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"input_size": (3, 28, 32)}, "3 channels and 28x32 pixels"),
        ({"input_size": (1, 28, 28)}, "1 channels"),
        ({"interpolation": "lanczos"}, "lanczos interpolation"),
        ({"crop_mode": "border"}, "crop mode border"),
    ],
)
def test_a_preprocessing_that_is_not_supported(timm, change, words):
    timm.config |= change
    with pytest.raises(InputError, match=f"needs .*{words}.*not supported"):
        find_encoder("timm:conv", device="cpu")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:cnov", "timm has no model 'cnov'; did you mean 'timm:conv'"),
        ("timm:bare", "no pretrained weights for 'bare'; use another one"),
        ("timm:conv,weights=w.pth", "takes no weights="),
    ],
)
def test_a_name_that_timm_lacks(timm, name, words):
    with pytest.raises(InputError, match=words):
        find_encoder(name, device="cpu")


def test_no_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match="timm") as error:
        find_encoder("timm:resnet50", device="cpu")
    assert "\n" not in str(error.value)


def test_a_hub_out_of_reach_is_one_line(timm, monkeypatch, tmp_path):
    pytest.importorskip("huggingface_hub")
    timm.hub = "timm/conv.in1k"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="not on this machine, and HF_HUB_OFFLINE forbids"):
        find_encoder("timm:conv", device="cpu")
    assert not timm.calls
