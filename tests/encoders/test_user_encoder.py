"""Encoders of a user's own, named as FILE.py:FUNCTION."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from noisylabels.core.checks import InputError
from noisylabels.data.features import feature_set
from noisylabels.data.images import image_set
from noisylabels.encoders.catalog import canonical_features, check_user_code, files_of, find_encoder
from noisylabels.encoders.embedding import embed_sets
from noisylabels.encoders.encoder import IMAGES, TEXTS

CODE = """
import numpy as np
import torch
from torch import nn

def means(images):
    return images.float().mean((2, 3))

def lengths(texts):
    return np.array([[len(text), text.count(" ")] for text in texts])

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 5)
        self.dropout = nn.Dropout(0.5)

    def forward(self, images):
        return self.dropout(self.layer(images.float().mean((2, 3)) / 255))

def build():
    return Network()

def gray(images):
    if images.shape[1] != 1:
        raise ValueError("gray images only")
    return images.flatten(1)[:, :2].float()

def fails(images):
    return 1 / 0

def flat(images):
    return images.float().mean((1, 2, 3))

def words(images):
    return ["a"] * len(images)

def two(images, size):
    return images

def nothing():
    return 7

number = 7
"""


@pytest.fixture
def code(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "own.py"
    path.write_text(CODE)
    return path


@pytest.fixture
def images() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (9, 3, 8, 8)).astype(np.uint8))


def test_a_function_of_images(code, images):
    encoder = find_encoder("own.py:means", image_side=8)
    assert (encoder.of, encoder.dimension) == (IMAGES, 3)
    torch.testing.assert_close(encoder.encode(images), images.float().mean((2, 3)))


def test_a_function_of_texts(code):
    encoder = find_encoder("own.py:lengths")
    assert (encoder.of, encoder.dimension) == (TEXTS, 2)
    assert encoder.encode(["a cat", "dog"]).tolist() == [[5.0, 1.0], [3.0, 0.0]]


@pytest.mark.parametrize("name", ["own.py:build", "own.py:Network"])
def test_a_network_is_built_once_and_evaluated(code, images, name):
    encoder = find_encoder(name, image_side=8, device="cpu")
    assert encoder.dimension == 5
    assert "weights" in encoder.identity
    assert torch.equal(encoder.encode(images), encoder.encode(images))  # no dropout


def test_a_function_for_gray_images(code):
    encoder = find_encoder("own.py:gray", image_side=8)
    assert encoder.encode(torch.full((3, 1, 8, 8), 9, dtype=torch.uint8)).tolist() == [[9.0, 9.0]] * 3


def test_changed_code_is_another_encoder(code):
    first = find_encoder("own.py:means", image_side=8).key
    assert find_encoder("./own.py:means", image_side=8).key == first
    code.write_text(CODE.replace("mean((2, 3))", "amax((2, 3))"))
    assert find_encoder("own.py:means", image_side=8).key != first


def test_sets_are_embedded_by_it(code, images):
    (made,) = embed_sets([image_set(images, [0, 1] * 4 + [0], ("a", "b"))], "own.py:means")
    torch.testing.assert_close(made.features, images.float().mean((2, 3)), atol=0.1, rtol=0)
    texts = feature_set(torch.zeros(2, 1), [0, 1], ("a", "b"), texts=["a cat", "dog"])
    assert embed_sets([texts], "own.py:lengths")[0].inputs.tolist() == [[0.0, 5.0, 1.0], [0.0, 3.0, 0.0]]
    with pytest.raises(InputError, match="which encodes texts, and images has images"):
        embed_sets([image_set(images, [0, 1] * 4 + [0], ("a", "b"))], "own.py:lengths")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own.py:mean", "no function 'mean'; did you mean 'means'"),
        ("other.py:means", "no file other.py for the encoder"),
        ("own_module:means", "no module 'own_module'"),
        ("own.py:fails", r"failed: ZeroDivisionError: division by zero \(own.py, line 31\)"),
        ("own.py:flat", r"returned \(2,\), expected \(2, D\)"),
        ("own.py:words", "returned a list, expected a tensor or an array"),
        ("own.py:two", "requires images, size"),
        ("own.py:nothing", "is a int, expected a function of a batch"),
        ("own.py:number", "is a int, expected a function or a class"),
        ("own.py:means@64", "leave out the @"),
    ],
)
def test_what_is_wrong_is_one_line(code, name, words):
    with pytest.raises(InputError, match=words) as error:
        find_encoder(name, image_side=8)
    assert "\n" not in str(error.value)


def test_naming_it_runs_nothing(code):
    code.write_text("raise SystemExit('ran')")
    assert canonical_features("./own.py:means") == "own.py:means"
    assert files_of("own.py:means") == [code]


def test_code_that_only_a_folder_names_does_not_run(code, tmp_path):
    check_user_code("efficientnet-lite0", None, tmp_path)
    check_user_code("own.py:means", "./own.py:means", tmp_path)
    for named in (None, "own.py:lengths"):
        with pytest.raises(InputError, match="if you trust that code, pass --features"):
            check_user_code("own.py:means", named, tmp_path)
