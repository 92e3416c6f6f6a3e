"""timm's models, with a stand-in for timm: it would bring torchvision, and with it PyTorch for CUDA.

The stand-in has the six functions that are called, with the signatures and the behavior of timm 1.0
(`timm/models/_factory.py`, `_registry.py`, `timm/data/config.py`): a network without a fixed input size
refuses `img_size`.
"""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from noisylabels.core.checks import InputError
from noisylabels.core.files import read_json
from noisylabels.experiment import load_config, load_sets, run
from noisylabels.experiment.prediction import load_model, predict
from noisylabels.models import build_model
from noisylabels.models.catalog import check_model

SHAPE = {"channels": 1, "image_size": (8, 8), "num_classes": 10}


@dataclass
class Config:
    fixed_input_size: bool = False


class Convolutional(nn.Sequential):
    def __init__(self, num_classes=1000, in_chans=3):
        super().__init__(
            nn.Conv2d(in_chans, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes)
        )


class Transformer(nn.Sequential):
    def __init__(self, img_size=(224, 224), num_classes=1000, in_chans=3):
        if img_size[0] % 4:
            raise ValueError(f"img_size {img_size} should be divisible\nby patch_size 4")
        super().__init__(nn.Flatten(), nn.Linear(in_chans * img_size[0] * img_size[1], num_classes))


@pytest.fixture
def timm(monkeypatch):
    """A module called timm, and the calls of its create_model."""
    made = types.ModuleType("timm")
    architectures = {"conv": Convolutional, "vit": Transformer}
    made.__version__ = "1.0.0"
    made.calls = []

    def arch(name):
        return name.partition(".")[0]

    def get_pretrained_cfg(model_name, allow_unregistered=True):
        if "." in model_name and not model_name.endswith(".in1k"):
            raise RuntimeError(f"Invalid pretrained tag ({model_name}) for {arch(model_name)}.")
        return Config(fixed_input_size=arch(model_name) == "vit")

    def create_model(model_name, pretrained=False, **kwargs):
        made.calls.append((model_name, pretrained, kwargs))
        model = architectures[arch(model_name)](**kwargs)
        if pretrained:
            nn.init.constant_(model[0].weight, 0.25)
        return model

    made.is_model = lambda name: arch(name) in architectures
    made.list_models = lambda: list(architectures)
    made.is_model_pretrained = lambda name: name in ("conv", "conv.in1k")
    made.get_pretrained_cfg = get_pretrained_cfg
    made.create_model = create_model
    data = types.ModuleType("timm.data")
    data.resolve_model_data_config = lambda model: {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.2, 0.2)}
    made.data = data
    monkeypatch.setitem(sys.modules, "timm", made)
    monkeypatch.setitem(sys.modules, "timm.data", data)
    return made


def test_channels_classes_and_size_go_where_they_belong(timm):
    assert build_model("timm:conv", **SHAPE)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert build_model("timm:vit", **SHAPE)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert timm.calls == [
        ("conv", False, {"in_chans": 1, "num_classes": 10}),
        ("vit", False, {"in_chans": 1, "num_classes": 10, "img_size": (8, 8)}),
    ]


def test_images_are_normalized_as_pretrained_weights_expect(timm):
    color = build_model("timm:conv,pretrained", **SHAPE | {"channels": 3})
    assert color.input_normalization == ((0.4, 0.5, 0.6), (0.2, 0.2, 0.2))
    mean, std = build_model("timm:conv,pretrained", **SHAPE).input_normalization
    assert (mean, std) == (pytest.approx((0.5,)), pytest.approx((0.2,)))
    assert not hasattr(build_model("timm:conv", **SHAPE), "input_normalization")


def test_weights_come_from_the_seed_or_are_pretrained(timm):
    first, again, other = (build_model("timm:conv", **SHAPE, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first[0].weight, again[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)
    for name in ("timm:conv,pretrained", "timm:conv.in1k,pretrained"):
        model = build_model(name, **SHAPE, seed=1)
        assert bool((model[0].weight == 0.25).all())
        assert torch.equal(model[3].weight, first[3].weight)  # the new last layer is the seed's


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:konv", ["timm has no model 'konv'", "did you mean 'timm:conv'"]),
        ("timm:hf-hub:user/model", ["timm has no model", "timm.list_models()"]),
        ("timm:vit,pretrained", ["no pretrained weights for 'vit'"]),
        ("timm:conv,pretraind", ["timm:NAME,pretrained"]),
        ("timm:conv,", ["timm:NAME,pretrained"]),
        ("timm:conv.in22k", ["RuntimeError: Invalid pretrained tag"]),
    ],
)
def test_a_wrong_name_is_one_clear_line(timm, name, words):
    with pytest.raises(InputError) as error:
        build_model(name, **SHAPE)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_a_size_that_it_cannot_have(timm):
    with pytest.raises(
        InputError, match=r"for 9x9 images with 1 channels: ValueError: .* divisible by patch"
    ):
        build_model("timm:vit", **SHAPE | {"image_size": (9, 9)})
    with pytest.raises(InputError, match=r"fails on images of shape \(2, 1, 2, 2\)"):
        build_model("timm:conv", **SHAPE | {"image_size": (2, 2)})
    with pytest.raises(InputError, match=r"--width is 0\.5"):
        build_model("timm:conv", **SHAPE, width=0.5)


def test_weights_that_cannot_be_fetched(timm, monkeypatch):
    def offline(*args, **kwargs):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        InputError, match=r"cannot build 'timm:conv,pretrained'.*ConnectionError: no route to host$"
    ):
        build_model("timm:conv,pretrained", **SHAPE)


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)  # what makes an import fail as if it was not there
    with pytest.raises(InputError, match=r"needs timm.*pip install 'noisylabels\[models\]'$"):
        check_model("timm:resnet50")


def test_a_timm_that_is_broken(tmp_path, monkeypatch):
    (tmp_path / "timm.py").write_text("import no_such_torchvision\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(InputError, match=r"cannot be imported: .*no_such_torchvision"):
        check_model("timm:resnet50")


def test_a_run_and_its_use_fetch_weights_once(timm, tmp_path):
    out = tmp_path / "run"
    config = load_config(None, epochs=1, lr=0.05, model="timm:conv,pretrained", device="cpu", out=str(out))
    result = run(config)
    assert [pretrained for _, pretrained, _ in timm.calls] == [True]
    assert read_json(out / "environment.json")["packages"]["timm"] == "1.0.0"
    _, test = load_sets(config)
    probs = predict(load_model(out, "cpu"), test.images)
    # without weights: once on no device, to compare its size with the file's, and once to be used
    assert [pretrained for _, pretrained, _ in timm.calls] == [True, False, False]
    accuracy = (probs.argmax(1) == test.labels).double().mean().item()
    assert accuracy == pytest.approx(result.final["test_accuracy"], abs=1e-9)
