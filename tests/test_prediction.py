from __future__ import annotations

import errno
import json
import os
import resource
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from noisylabels.core.checks import InputError
from noisylabels.experiment import load_config, load_sets, run
from noisylabels.experiment.prediction import load_model, predict, predict_files
from noisylabels.models.catalog import build_model
from noisylabels.training.weights_file import save_model

SETTINGS = {
    "model": "small-cnn",
    "width": 0.25,
    "epochs": 2,
    "lr": 0.05,
    "noise": "symmetric:0.3",
    "device": "cpu",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a finished run; not to be changed."""
    out = tmp_path_factory.mktemp("finished") / "run"
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    run(load_config(None, **SETTINGS, out=str(out)))
    torch.set_num_threads(before)
    return out


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_the_probabilities_are_those_of_the_trained_model_on_the_test_set(finished):
    _, test = load_sets(load_config(None, **SETTINGS))
    for where in (finished, finished / "model.safetensors"):
        trained = load_model(where, "cpu")
        assert trained.class_names == test.class_names
        probs = predict(trained, test.images)
        assert probs.shape == (len(test), 10)
        assert probs.dtype == torch.float32
        torch.testing.assert_close(probs.sum(1), torch.ones(len(test)))
        final = json.loads((finished / "result.json").read_text())["final"]
        accuracy = (probs.argmax(1) == test.labels).double().mean().item()
        assert accuracy == pytest.approx(final["test_accuracy"], abs=1e-9)


def test_the_size_of_the_batches_does_not_matter(finished):
    _, test = load_sets(load_config(None, **SETTINGS))
    trained = load_model(finished, "cpu")
    torch.testing.assert_close(
        torch.cat([predict(trained, part) for part in test.images.split(7)]), predict(trained, test.images)
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["small-cnn", "mlp"])
def test_round_trip_against_the_model_in_memory(tmp_path, name, channels):
    from noisylabels.data.images import image_set

    pixels = torch.randint(0, 256, (9, channels, 6, 8), generator=torch.Generator().manual_seed(0))
    images = image_set(pixels.to(torch.uint8), [0, 1, 2] * 3, ("a", "b", "ü"))
    shape = {"name": name, "channels": channels, "image_size": (6, 8), "num_classes": 3, "width": 0.2}
    model = build_model(**shape, seed=5).to(memory_format=torch.channels_last)
    model(torch.randn(4, channels, 6, 8))  # running statistics of their own
    save_model(tmp_path / "m.safetensors", model, shape, images)
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]
    trained = load_model(tmp_path / "m.safetensors", "cpu")
    assert trained.shape == shape
    assert trained.class_names == ("a", "b", "ü")
    assert not trained.model.training
    for key, value in model.state_dict().items():
        assert torch.equal(trained.model.state_dict()[key], value), key
    model.eval()
    scaled = pixels.double() / 255
    mean, std = scaled.mean((0, 2, 3)), scaled.std((0, 2, 3), correction=0)
    normal = ((scaled - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)).float()
    with torch.no_grad():
        expected = model(normal).softmax(1)
    torch.testing.assert_close(predict(trained, images.images), expected, rtol=1e-4, atol=1e-5)


def test_files_are_brought_to_the_models_shape(finished, tmp_path):
    train, _ = load_sets(load_config(None, **SETTINGS))
    for i in range(3):
        Image.fromarray(train.images[i, 0].numpy()).save(tmp_path / f"{i}.png")
    trained = load_model(finished, "cpu")
    names, probs = predict_files(trained, [tmp_path])
    assert [Path(name).name for name in names] == ["0.png", "1.png", "2.png"]
    torch.testing.assert_close(probs, predict(trained, train.images[:3]))


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 1, 8, 9, dtype=torch.uint8),
        torch.zeros(2, 1, 8, 8),
        torch.zeros(8, 8, dtype=torch.uint8),
    ],
)
def test_images_that_the_model_cannot_take_are_one_clear_line(finished, images):
    with pytest.raises(InputError, match=r"expected torch.uint8 \(N, 1, 8, 8\)"):
        predict(load_model(finished, "cpu"), images)


def test_no_images_give_no_probabilities(finished):
    assert predict(load_model(finished, "cpu"), torch.zeros(0, 1, 8, 8, dtype=torch.uint8)).shape == (0, 10)


def test_a_run_that_has_not_finished(copied):
    (copied / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"is done but has no weights, model.safetensors"):
        load_model(copied)
    (copied / "result.json").unlink()
    with pytest.raises(InputError, match="has not finished or has failed"):
        load_model(copied)


def test_a_failed_run(tmp_path):
    result = run(load_config(None, **SETTINGS | {"lr": 1e30, "loss": "ce"}, out=str(tmp_path / "run")))
    assert result.status == "failed"
    with pytest.raises(InputError, match="has not finished or has failed"):
        load_model(tmp_path / "run")


def test_no_run_at_all(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(
            InputError, match=r"is not the folder of a run.*train one with `noisylabels train"
        ):
            load_model(path)


def test_a_file_that_cannot_be_read_now_is_not_called_damaged(copied, monkeypatch):
    def fail(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr("noisylabels.training.weights_file.check_regular", fail)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        load_model(copied)


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, -1])
def test_a_damaged_file_is_one_clear_line(copied, keep):
    path = copied / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(InputError, match="is damaged or not a noisylabels model; train it again") as error:
        load_model(copied, "cpu")
    assert "\n" not in str(error.value)


def test_weights_with_a_flipped_bit_are_refused(copied):
    path = copied / "model.safetensors"
    content = bytearray(path.read_bytes())
    data = 8 + int.from_bytes(content[:8], "little")
    for folder in (copied, path):  # also a file that was copied without its run
        for at in (data, (data + len(content)) // 2, len(content) - 1):
            content[at] ^= 1
            path.write_bytes(content)
            content[at] ^= 1
            with pytest.raises(InputError, match="weights do not match their checksum; restore it, or train"):
                load_model(folder, "cpu")
        (copied / "result.json").unlink(missing_ok=True)
    path.write_bytes(content)
    load_model(path, "cpu")


def test_the_same_model_gives_the_same_bytes(finished, tmp_path):
    model = load_model(finished, "cpu")
    _, test = load_sets(load_config(None, **SETTINGS))
    files = [tmp_path / str(k) for k in range(8)]
    for file in files:
        save_model(file, model.model, model.shape, test)
    assert len({file.read_bytes() for file in files}) == 1


@pytest.mark.parametrize("change", ["a class", "the exponent"])
def test_a_changed_header_is_refused(copied, change):
    path = copied / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header = json.loads(metadata["noisylabels"])
    header |= {"a class": {"class_names": list("1023456789")}, "the exponent": {"power": 3.0}}[change]
    save_file(weights, path, metadata=metadata | {"noisylabels": json.dumps(header)})
    with pytest.raises(InputError, match="do not match their checksum"):
        load_model(copied, "cpu")


def test_weights_of_another_run_are_refused(copied, finished, tmp_path):
    other = tmp_path / "other"
    run(load_config(None, **SETTINGS | {"epochs": 1}, out=str(other)))
    shutil.copy(other / "model.safetensors", copied / "model.safetensors")
    with pytest.raises(
        InputError, match=r"holds other weights than those that the run recorded in result.json"
    ):
        load_model(copied, "cpu")
    recorded = json.loads((finished / "result.json").read_text())["weights"]
    with safe_open(finished / "model.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["noisylabels"])["sha256"] == recorded


def test_a_run_of_an_earlier_version_has_no_checksum(copied, finished):
    path = copied / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["noisylabels"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del header["sha256"]
    save_file(weights, path, metadata={"noisylabels": json.dumps(header)})
    result = json.loads((copied / "result.json").read_text())
    del result["weights"]
    (copied / "result.json").write_text(json.dumps(result))
    images = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)
    assert torch.equal(
        predict(load_model(copied, "cpu"), images), predict(load_model(finished, "cpu"), images)
    )


HEADER = {
    "shape": {"name": "mlp", "channels": 1, "image_size": [8, 8], "num_classes": 10, "width": 0.1},
    "class_names": list("0123456789"),
    "mean": [0.3],
    "std": [0.4],
}


@pytest.mark.parametrize(
    "header",
    [
        None,
        {},
        [],
        3,
        {name: value for name, value in HEADER.items() if name != "mean"},
        HEADER,  # of a model that the tensors do not fit
        HEADER | {"shape": {"name": "mlp"}},
        HEADER | {"shape": HEADER["shape"] | {"image_size": None}},
        HEADER | {"class_names": None},
        HEADER | {"shape": HEADER["shape"] | {"surprise": 1}},
    ],
)
def test_safetensors_of_another_program_are_one_clear_line(tmp_path, header):
    path = tmp_path / "model.safetensors"
    metadata = None if header is None else {"noisylabels": json.dumps(header)}
    save_file({"weight": torch.zeros(3)}, path, metadata=metadata)
    with pytest.raises(InputError, match="train it again"):
        load_model(tmp_path, "cpu")


CLAIMS = {
    "wide": {"width": 1e4},
    "many classes": {"num_classes": 10**9},
    "many channels": {"channels": 10**9},
    "another model": {"name": "mlp:900000,900000"},
    "beyond 64 bits": {"width": 1e300},
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_file_that_claims_a_huge_model_is_refused_without_memory(copied, claim):
    path = copied / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["noisylabels"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header["shape"] |= CLAIMS[claim]
    del header["sha256"]
    save_file(weights, path, metadata={"noisylabels": json.dumps(header)})
    (copied / "result.json").unlink()  # it names the weights that were trained
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError) as error:
        load_model(copied, "cpu")
    assert "\n" not in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_device_that_is_not_there(finished):
    with pytest.raises(InputError, match="the device 'cuda:99' is not usable here"):
        load_model(finished, "cuda:99")
