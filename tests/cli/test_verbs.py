"""The verbs, as a user calls them."""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import io
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import noisylabels as nl
from noisylabels.cli import main
from noisylabels.cli.parser import VERBS, flags
from noisylabels.core.files import read_json
from noisylabels.experiment import RunConfig


def test_train_then_predict_on_photographs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red and blue squares: a task that two epochs must solve, through files and back to names."""
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(1)
    for name, color in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
        for part, count in (("train", 24), ("test", 8)):
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(rng.normal(color, 20, (20, 24, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    run = tmp_path / "run"
    arguments = ["--data", str(tmp_path / "photos"), "--model", "small-cnn", "--image-size", "16"]
    arguments += ["--epochs", "4", "--batch-size", "8", "--noise", "symmetric:0.2", "--out", str(run)]
    assert main(["train", *arguments]) == 0
    out = capsys.readouterr().out
    assert "test accuracy                        100.00 %" in out
    assert str(run) in out
    assert main(["train", *arguments]) == 0  # a finished run is shown, not run again
    again = capsys.readouterr()
    assert again.out == out
    assert "done already" in again.err

    assert main(["predict", str(run), str(tmp_path / "photos" / "test"), "--all-classes"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 16
    for row in rows:
        assert row["label"] == Path(row["image"]).parent.name
        assert float(row["probability"]) == max(float(row["red"]), float(row["blue"]))
        assert float(row["red"]) + float(row["blue"]) == pytest.approx(1.0, abs=2e-6)
    broken = tmp_path / "photos" / "test" / "blue" / "broken.png"
    broken.write_bytes(b"")
    assert main(["predict", str(run), str(broken.parent), "--bad-images", "skip"]) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 1 + 8
    assert "left out 1 of 9 images" in shown.err
    assert "broken.png" in shown.err
    one = tmp_path / "photos" / "test" / "blue" / "0.png"
    assert main(["predict", str(run), str(one), "--out", str(tmp_path / "labels.csv")]) == 0
    assert (tmp_path / "labels.csv").read_text().splitlines()[1].split(",")[1] == "blue"


def test_flags_override_the_recipe_and_the_recipe_the_defaults(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('epochs = 1\nlr = 0.125\nmodel = "mlp"\n')
    assert (
        main(["train", str(recipe), "--lr", "0.25", "--no-channels-last", "--out", str(tmp_path / "run")])
        == 0
    )
    config = read_json(tmp_path / "run" / "config.json")
    assert (config["epochs"], config["lr"], config["model"]) == (1, 0.25, "mlp")
    assert config["channels_last"] is False
    assert config["momentum"] == RunConfig().momentum


def test_a_diverged_run_exits_with_1_and_is_recorded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["train", "--model", "mlp", "--epochs", "2", "--lr", "1e30", "--out", str(tmp_path / "run")]
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert "diverged in epoch 1" in err
    assert "lower lr" in err
    assert read_json(tmp_path / "run" / "result.json")["status"] == "failed"


@pytest.mark.parametrize(
    "what", ["losses", "noise", "data", "formats", "models", "encoders", "presets", "recipes"]
)
def test_list_names_every_row_with_its_source(capsys: pytest.CaptureFixture[str], what: str) -> None:
    from noisylabels.data.catalog import DATA
    from noisylabels.data.formats import FORMATS
    from noisylabels.encoders.catalog import ENCODERS
    from noisylabels.experiment import recipes
    from noisylabels.losses import LOSSES, PRESETS
    from noisylabels.models import MODELS
    from noisylabels.noise.catalog import KINDS

    names = {
        "losses": LOSSES,
        "noise": KINDS,
        "data": DATA,
        "formats": FORMATS,
        "models": MODELS,
        "encoders": [name.removesuffix(":") for name in ENCODERS],
        "presets": [f"{name}@{key}" for name, presets in PRESETS.items() for key in presets],
        "recipes": recipes(),
    }[what]
    assert main(["list", what]) == 0
    out = capsys.readouterr().out
    first_words = {line.split()[0].partition(":")[0] for line in out.splitlines() if line.strip()}
    assert set(names) <= first_words


def test_noise_in_stages_is_shown_saved_and_drawn(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file, picture = tmp_path / "labels.parquet", tmp_path / "noise.svg"
    np.savez(tmp_path / "f.npz", images=np.zeros((500, 8, 8), dtype=np.uint8), labels=np.arange(500) % 2)
    spec = f"longtail:0.2 | openset:0.1@{tmp_path / 'f.npz'} | symmetric:0.3"
    assert main(["noise", spec, "--out", str(file), "--plot", str(picture)]) == 0
    out = capsys.readouterr().out
    labels = nl.NoisyLabels.load(file)
    foreign = int((labels.foreign >= 0).sum())
    assert f"{foreign} of them with foreign images; {len(labels)} of 1438 examples kept" in out
    assert str(picture) in out
    assert "70.0" in picture.read_text()


def test_noise_of_many_classes_shows_the_most_frequent_confusions(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    labels = np.arange(300) % 30
    np.savez(tmp_path / "many.npz", images=np.zeros((300, 4, 4), dtype=np.uint8), labels=labels)
    assert main(["noise", "pairflip:0.4", "--data", str(tmp_path / "many.npz")]) == 0
    out = capsys.readouterr().out
    assert "the 20 most frequent confusions of 30 classes" in out
    assert re.search(r"noise rate per class: minimum \d+\.\d %, median \d+\.\d %, maximum \d+\.\d %", out)
    assert out.count("40.0 %") >= 20


def test_noise_shows_and_saves_the_labels(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "labels.parquet"
    assert main(["noise", "asymmetric:0.3", "--seed", "4", "--out", str(file)]) == 0
    out = capsys.readouterr().out
    labels = nl.NoisyLabels.load(file)
    train, _ = nl.load("digits")
    expected = nl.corrupt(train.labels, "asymmetric:0.3", seed=4, class_names=train.class_names)
    assert labels.digest == expected.digest
    assert f"{100 * labels.rate:.2f} %" in out
    row = next(line.split() for line in out.splitlines() if line.strip().startswith("7 "))
    assert row[1] == str(labels.counts[7].sum())
    assert row[3] == f"{100 * labels.realized[7, 1]:.1f}"  # 7 is taken for 1
    assert row.count("30.0") == 1  # the nominal matrix beside it


def test_noise_of_a_run_is_that_of_the_noise_verb(tmp_path: Path) -> None:
    assert main(["noise", "symmetric:0.4", "--seed", "5", "--out", str(tmp_path / "labels.parquet")]) == 0
    arguments = ["--noise", "symmetric:0.4", "--seed", "5", "--epochs", "1", "--model", "mlp"]
    assert main(["train", *arguments, "--out", str(tmp_path / "run")]) == 0
    first = nl.NoisyLabels.load(tmp_path / "labels.parquet")
    second = nl.NoisyLabels.load(tmp_path / "run" / "labels.parquet")
    assert first.digest == second.digest


def test_loss_explains_and_draws(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["loss", "nce+2*mae", "ce", "--plot", str(tmp_path / "loss.svg")]) == 0
    out = capsys.readouterr().out
    assert "nce+2*mae active + passive" in out
    assert "[0, 5] for 10 classes" in out
    assert "Ghosh" in out
    assert "sums to 37" in out  # 1 of nce, 2 * 2 * 9 of mae
    assert "<svg" in (tmp_path / "loss.svg").read_text()
    assert main(["loss", "ce", "--plot", str(tmp_path / "loss.png")]) == 0
    with Image.open(tmp_path / "loss.png") as picture:
        assert picture.size[0] > 1000


def test_loss_shows_a_schedule_at_the_stages_of_training(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["loss", "ce+linear(0,4)*mae", "--plot", str(tmp_path / "loss.svg")]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines()]
    assert ["training", "progress", "0", "0.1", "0.25", "0.5", "0.75", "0.9", "1"] in rows
    assert ["weight", "of", "mae", "0", "0.4", "1", "2", "3", "3.6", "4"] in rows
    drawn = (tmp_path / "loss.svg").read_text()
    for stage in ("ce, at the start", "ce+2*mae, in the middle", "ce+4*mae, at the end"):
        assert stage in out
        assert stage.partition(",")[0] in drawn
    assert main(["list", "weights"]) == 0
    listed = capsys.readouterr().out
    assert "linear(start,end)" in listed
    assert "auto(rule=agreement)" in listed


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_help_explains_every_flag(capsys: pytest.CaptureFixture[str], verb: str | None) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"] if verb else ["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "noisylabels" in out
    if verb == "train":
        for flag in flags(VERBS["train"]):
            assert flag in out
        assert "the paper" in out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_verbs(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["completion", shell])
    assert not stop.value.code
    script = capsys.readouterr().out
    assert "predict" in script
    assert "--noise" in script or "noise" in script


def test_the_version_and_the_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "noisylabels"]
    shown = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    first, *more = shown.stdout.splitlines()
    assert first == f"noisylabels {nl.__version__}"
    for wanted in (f"Python {platform.python_version()}, ", f"PyTorch {torch.__version__}, ", "extras: "):
        assert sum(line.startswith(wanted) for line in more) == 1, more
    assert f"installed in {Path(nl.__file__).parent}" in more
    wrong = subprocess.run([*command, "train", "--loss", "nec"], capture_output=True, text=True, cwd=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_version_where_pytorch_is_broken_or_missing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "torch"
    fake.mkdir()
    (fake / "__init__.py").write_text("raise ImportError('libcudart.so: cannot open shared object file')\n")
    (fake / "version.py").write_text("__version__ = '2.99.0+cu999'\n")
    spec = importlib.util.spec_from_file_location("torch", fake / "__init__.py")
    for found, line in ((spec, "PyTorch 2.99.0+cu999, "), (None, "PyTorch missing, ")):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, found=found: found)
        monkeypatch.setattr(importlib.metadata, "version", {"numpy": "9.9"}.get)
        assert main(["--version"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"noisylabels {nl.__version__}"
        assert sum(each.startswith(line) for each in lines) == 1, lines
        assert any(each.startswith("numpy 9.9, scipy missing, ") for each in lines)


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m noisylabels list losses | head -1"
    shown = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""


def test_noise_reads_the_images_that_train_would(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(5):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / "photos" / name / f"{i}.png")
    (tmp_path / "photos" / "cat" / "broken.png").write_bytes(b"no image")
    command = ["noise", "symmetric:0.5", "--data", str(tmp_path / "photos")]
    assert main(command) == 2
    assert "--bad-images skip" in capsys.readouterr().err
    assert main([*command, "--bad-images", "skip"]) == 0
    shown = capsys.readouterr()
    assert "of 8 labels are noisy" in shown.out
    assert "cat/broken.png" in shown.err


def test_a_plot_is_written_despite_a_closed_pipe(tmp_path: Path) -> None:
    plot = tmp_path / "all.svg"
    losses = " ".join(["ce", "mae", "nce", "nfl+rce"] * 20)  # more text than a pipe holds
    command = f"{sys.executable} -m noisylabels loss {losses} --plot {plot} | head -1"
    shown = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert plot.exists()


def test_a_study_has_a_process_for_each_core_that_may_be_used(monkeypatch):
    from noisylabels.cli.study import StudyCommand

    monkeypatch.setattr("noisylabels.core.process.usable_cpus", lambda: 6)
    assert StudyCommand("run", "digits", device="cpu")._jobs() == 6
    assert StudyCommand("run", "digits", device="cpu", jobs=0)._jobs() == 0
