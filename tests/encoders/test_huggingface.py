"""Encoders of transformers, beside its own models and its own image processors for PIL."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import warm_process
from noisylabels.core.checks import InputError
from noisylabels.encoders.catalog import find_encoder
from noisylabels.encoders.import_hub import quiet

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
VIT = {**SMALL, "intermediate_size": 16, "image_size": 32, "patch_size": 8}
TEXT = {**SMALL, "intermediate_size": 16, "vocab_size": 50, "max_position_embeddings": 10}
SQUARE = {"size": {"height": 32, "width": 32}}


def _vit():
    return transformers.ViTModel(transformers.ViTConfig(**VIT))


def _classifier():
    return transformers.ViTForImageClassification(transformers.ViTConfig(**VIT))


def _clip():
    text = {**TEXT, "bos_token_id": 1, "eos_token_id": 2}
    config = transformers.CLIPConfig(text_config=text, vision_config=VIT, projection_dim=12)
    return transformers.CLIPModel(config)


def _dinov2():
    return transformers.Dinov2Model(transformers.Dinov2Config(**SMALL, image_size=28, patch_size=14))


def _convnext():
    config = transformers.ConvNextConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1])
    return transformers.ConvNextModel(config)


def _siglip():
    return transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**VIT))


def _resnet():
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1])
    return transformers.ResNetModel(config)


def _swin():
    sizes = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 1], "window_size": 2, "patch_size": 4}
    return transformers.SwinModel(transformers.SwinConfig(**sizes, image_size=32))


KINDS = {
    # build, image processor, its settings, pooling, features
    "vit": (_vit, "vit", SQUARE, "pooler", 16),
    "vit-classifier": (_classifier, "vit", SQUARE, "cls", 16),
    "clip": (_clip, "clip", {"size": {"shortest_edge": 32}, "crop_size": 32}, "projection", 12),
    "dinov2": (_dinov2, "bit", {"size": {"shortest_edge": 36}, "crop_size": 28}, "pooler", 16),
    "convnext": (_convnext, "convnext", {"size": {"shortest_edge": 64}}, "pooler", 8),
    "convnext-large": (_convnext, "convnext", {"size": {"shortest_edge": 384}}, "pooler", 8),
    "siglip": (_siglip, "siglip", SQUARE, "pooler", 16),
    "resnet": (_resnet, "convnext", {"size": {"shortest_edge": 64}}, "pooler", 8),
    "swin": (_swin, "vit", SQUARE, "pooler", 16),
}


def processor(kind: str, **settings):
    """Return one of transformers' image processors that work with PIL."""
    import importlib

    module = importlib.import_module(f"transformers.models.{kind}.image_processing_pil_{kind}")
    (name,) = [name for name in module.__all__ if name.endswith("Pil")]
    with quiet(transformers):
        return getattr(module, name)(**settings)


def saved(folder: Path, model, processor) -> Path:
    with quiet(transformers):
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def photos() -> torch.Tensor:
    """Six images of 50x40 pixels with sharp edges whose overshoot stays in 0..255."""
    # where it does not, the result depends on which side PIL resizes first, which differs between sizes
    values = np.random.default_rng(0).integers(50, 206, (6, 3, 10, 8))
    return torch.from_numpy(values.repeat(5, 2).repeat(5, 3).astype(np.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_transformers(kind, tmp_path, photos):
    build, name, settings, pooling, dimension = KINDS[kind]
    torch.manual_seed(0)
    model, own = build().eval(), processor(name, **settings)
    encoder = find_encoder(f"hf:{saved(tmp_path, model, own)}", device="cpu", precision="float32")
    assert (encoder.identity["pooling"], encoder.dimension) == (pooling, dimension)

    theirs = own([image.permute(1, 2, 0).numpy() for image in photos], return_tensors="np")["pixel_values"]
    ours = encoder.preprocessing(photos).numpy()
    levels = np.abs(ours - np.stack(theirs)) * np.array(encoder.preprocessing.std)[:, None, None] * 255
    assert levels.max() < 2.5  # PIL rounds after each side
    assert levels.mean() < 0.3

    with torch.no_grad():
        if pooling == "projection":
            wanted = model.get_image_features(pixel_values=torch.from_numpy(ours)).pooler_output
        elif pooling == "cls":
            wanted = model.vit(pixel_values=torch.from_numpy(ours)).last_hidden_state[:, 0]
        else:
            wanted = model(pixel_values=torch.from_numpy(ours)).pooler_output.flatten(1)
    torch.testing.assert_close(encoder.encode(photos), wanted, atol=1e-4, rtol=1e-3)


def test_another_size_keeps_the_share_of_the_crop(tmp_path, photos):
    own = processor("bit", size={"shortest_edge": 36}, crop_size=28)
    folder = saved(tmp_path, _dinov2(), own)
    encoder = find_encoder(f"hf:{folder}@56", device="cpu")
    assert (encoder.preprocessing.size, encoder.preprocessing.resized) == (56, 72)
    assert encoder.encode(photos).shape == (6, 16)
    assert encoder.identity["name"] == f"hf:{folder}@56"


def test_gray_images_are_encoded_as_three_equal_channels(tmp_path, photos):
    encoder = find_encoder(f"hf:{saved(tmp_path, _vit(), processor('vit', **SQUARE))}", device="cpu")
    gray = photos[:, :1]
    torch.testing.assert_close(encoder.encode(gray), encoder.encode(gray.expand(-1, 3, -1, -1)))


def test_the_digest_is_of_the_weights_that_are_used(tmp_path):
    torch.manual_seed(0)
    folder = saved(tmp_path, _classifier(), processor("vit", **SQUARE))
    # its pooler is missing and drawn at random when it is loaded
    first, again = (find_encoder(f"hf:{folder}", device="cpu").key for _ in range(2))
    assert first == again
    saved(tmp_path, _classifier(), processor("vit", **SQUARE))
    assert find_encoder(f"hf:{folder}", device="cpu").key != first


def test_old_settings_of_processors_are_read(tmp_path):
    folder = saved(tmp_path, _vit(), processor("vit", **SQUARE))
    values = {"feature_extractor_type": "ViTFeatureExtractor", "size": 32, "do_resize": True, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    found = find_encoder(f"hf:{folder}", device="cpu").preprocessing
    assert (found.size, found.squash, found.interpolation) == (32, True, "bicubic")


def test_a_sentence_encoder_takes_texts(tmp_path):
    from noisylabels.encoders.encoder import TEXTS

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    sizes = {**SMALL, "intermediate_size": 16, "vocab_size": len(words), "max_position_embeddings": 12}
    model = transformers.BertModel(transformers.BertConfig(**sizes)).eval()
    with quiet(transformers):
        model.save_pretrained(tmp_path)
        tokenizer = transformers.BertTokenizer(str(tmp_path / "vocab.txt"))
        tokenizer.save_pretrained(tmp_path)
    encoder = find_encoder(f"hf:{tmp_path}", device="cpu", precision="float32")
    assert (encoder.of, encoder.dimension) == (TEXTS, 16)
    with torch.no_grad():
        hidden = model(**tokenizer("a cat", return_tensors="pt")).last_hidden_state
    wanted = torch.nn.functional.normalize(hidden.mean(1), dim=1)
    torch.testing.assert_close(encoder.encode(["a cat", "a dog"])[:1], wanted, atol=1e-5, rtol=1e-4)
    with pytest.raises(InputError, match="leave out @32"):
        find_encoder(f"hf:{tmp_path}@32", device="cpu")


def _no_weights(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _no_config(folder):
    (folder / "config.json").unlink()


def _no_processor(folder):
    (folder / "preprocessor_config.json").unlink()


def _lanczos(folder):
    values = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(values | {"resample": 1}))


def _padded(folder):
    values = json.loads((folder / "preprocessor_config.json").read_text())
    more = {"do_pad": True, "pad_size": {"height": 40, "width": 40}}
    (folder / "preprocessor_config.json").write_text(json.dumps(values | more))


def _damaged(folder):
    (folder / "model.safetensors").write_bytes(b"{}")


def _code(folder):
    values = json.loads((folder / "config.json").read_text())
    values |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "own.py").write_text("raise SystemExit('code of the folder ran')")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_no_weights, "no model.safetensors but pytorch_model.bin, a pickle file"),
        (_no_config, "has no config.json"),
        (_no_processor, "no preprocessor_config.json"),
        (_lanczos, "filter 1, expected one of 2 and 3"),
        (_padded, "ViTImageProcessor, which is not supported"),
        (_damaged, "cannot be loaded"),
        (_code, "cannot be loaded"),
    ],
)
def test_what_cannot_be_read_is_one_line(change, words, tmp_path):
    folder = saved(tmp_path, _vit(), processor("vit", **SQUARE))
    change(folder)
    with pytest.raises(InputError, match=words) as error:
        find_encoder(f"hf:{folder}", device="cpu")
    assert "\n" not in str(error.value)


HUGE = {
    "hidden_size": 2**40,
    "num_labels": 10**12,
    "intermediate_size": 2**31,
    "num_hidden_layers": 10**7,
    "image_size": 10**9,
    "num_channels": 2**30,
}


def claims(**settings):
    def change(folder):
        values = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(values | settings))

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(pytest.param(claims(**{key: value}), id=key) for key, value in HUGE.items()),
        pytest.param(claims(num_hidden_layers=3000), id="some thousand layers"),
        pytest.param(claims(hidden_size=80_000, intermediate_size=80_000), id="by their product"),
        pytest.param(claims(text_config={"num_layers": 10**6}), id="in a part"),
        pytest.param(claims(depths=[10**5, 10**5]), id="in a list"),
    ],
)
def test_a_configuration_larger_than_its_weights_is_refused_without_memory(change, tmp_path):
    folder = saved(tmp_path, _vit(), processor("vit", **SQUARE))
    change(folder)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    words = r"claims .* in its config.json, but its files hold [\d,]+"
    with pytest.raises(InputError, match=words) as error:
        find_encoder(f"hf:{folder}", device="cpu")
    assert "\n" not in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB
    assert time.monotonic() - began < 30


def test_a_folder_that_is_missing():
    with pytest.raises(InputError, match=r"no folder \./nowhere"):
        find_encoder("hf:./nowhere", device="cpu")


NO_NETWORK = """
import socket, sys
def refuse(*_, **__):
    raise OSError(101, "Network is unreachable")
socket.create_connection = socket.getaddrinfo = refuse
socket.socket.connect = refuse
from noisylabels.cli import main
sys.exit(main(["embed", "digits", "--features", "hf:facebook/dinov2-small", "--out", "f.npz"]))
"""


@pytest.mark.parametrize("offline", [True, False])
def test_offline_is_one_line_at_once(offline, tmp_path):
    names = {"HF_HOME": str(tmp_path), "NOISYLABELS_CACHE": str(tmp_path / "cache")}
    environment = {**os.environ, **names}
    environment.pop("HF_HUB_OFFLINE", None)
    environment |= {"HF_HUB_OFFLINE": "1"} if offline else {}
    began = time.monotonic()
    made = warm_process.run(["-c", NO_NETWORK], cwd=tmp_path, env=environment)
    assert made.returncode == 2, made.stderr
    assert made.stderr.count("\n") == 1
    reason = "HF_HUB_OFFLINE forbids downloads" if offline else "cannot be reached"
    assert "are not on this machine" in made.stderr
    assert reason in made.stderr
    assert time.monotonic() - began < 60  # most of it is the start of Python on a busy machine


def test_the_check_of_the_connection_waits_for_seconds(monkeypatch):
    import socket

    from noisylabels.encoders import hub

    def listening(place, timeout):
        assert place == ("mirror.example", 8443)
        time.sleep(timeout)
        raise TimeoutError("timed out")

    for name in (*hub.OFFLINE, "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example:8443")
    monkeypatch.setattr(socket, "create_connection", listening)
    monkeypatch.setattr(hub, "PATIENCE_SECONDS", 0.05)
    with pytest.raises(InputError, match=r"mirror.example cannot be reached \(TimeoutError: timed out\)"):
        hub.check_connection("hf:x")
