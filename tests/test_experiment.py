"""Runs: from a configuration to a folder with a result."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from noisylabels.cli import main
from noisylabels.cli.train import summary
from noisylabels.core.checks import InputError
from noisylabels.core.interrupt import Interrupted
from noisylabels.core.locks import exclusive_lock
from noisylabels.data.features import joined
from noisylabels.experiment import (
    RunConfig,
    RunResult,
    Silent,
    canonical,
    load_config,
    load_sets,
    read_result,
    recipes,
    resolve,
    run,
    run_id,
)
from noisylabels.experiment.prediction import load_model, predict
from noisylabels.experiment.sets import trained_on
from noisylabels.noise.labels import NoisyLabels

# a run of two epochs, 12 steps each
FAST = {
    "model": "mlp",
    "width": 0.1,
    "epochs": 2,
    "batch_size": 128,
    "lr": 0.05,
    "noise": "symmetric:0.3",
    "loss": "nce+mae",
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def surroundings(tmp_path_factory, monkeypatch) -> None:
    """A cache and a working directory of the test's own."""
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("NOISYLABELS_DATA", raising=False)
    monkeypatch.chdir(tmp_path_factory.mktemp("work"))


def fast(out: Path | str, **more) -> RunConfig:
    return load_config(None, **FAST | {"out": str(out)} | more)


class Notes:
    """A reporter that remembers, and can stop the run with a signal."""

    def __init__(self, stop_at: int | None = None, number: int = signal.SIGTERM) -> None:
        self.notes: list[str] = []
        self.rows: list[dict] = []
        self.steps = 0
        self.stop_at = stop_at
        self.number = number

    def note(self, text: str) -> None:
        self.notes.append(text)

    def decoding(self, what: str, done: int, total: int) -> None:
        pass

    def step(self, epoch: int, done: int, total: int) -> None:
        self.steps += 1
        if self.steps == self.stop_at:
            os.kill(os.getpid(), self.number)

    def epoch(self, row: dict) -> None:
        self.rows.append(row)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a finished run; not to be changed."""
    out = tmp_path_factory.mktemp("finished") / "run"
    run(fast(out))
    return out


@pytest.fixture
def done(finished, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_a_card_that_a_run_did_not_use_is_not_in_its_environment(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    run(load_config(None, **FAST | {"device": "cpu", "out": str(tmp_path / "run")}))
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["gpu"] is None


def test_a_share_of_the_training_set(finished, tmp_path):
    class Steps(Silent):
        total, said = 0, ""

        def step(self, epoch: int, done: int, total: int) -> None:
            self.total = total

        def note(self, text: str) -> None:
            self.said += text

    seen = Steps()
    part = run(fast(tmp_path / "part", train_share=0.25), seen)
    assert seen.total == 3  # of 359 examples, not of 1,438
    assert "trains on 359 of 1,438 examples" in seen.said
    # the noise is made on the whole set, so that an example has its label whatever the share
    assert NoisyLabels.load(part.path / "labels.parquet").digest == read_result(finished).noise["digest"]
    wrong = int((NoisyLabels.load(part.path / "labels.parquet").flipped[trained(part)]).sum())
    assert part.final["memorized"] * wrong == pytest.approx(round(part.final["memorized"] * wrong))
    assert run_id(fast(tmp_path, train_share=1.0)) == run_id(fast(tmp_path))
    assert run_id(fast(tmp_path, train_share=0.25)) != run_id(fast(tmp_path))
    for share in (0, 1.1, float("nan")):
        with pytest.raises(InputError, match="train_share"):
            fast(tmp_path, train_share=share)


def trained(result) -> np.ndarray:
    """The positions that a run trained on."""
    config = load_config(None, **result.config)
    return trained_on(config, load_sets(config)[0])


# --- configuration and identity -----------------------------------------------------------------


@pytest.mark.parametrize("train", [([0, 1], [0, 1]), [0, 1], "digits", None])
def test_noise_for_what_is_no_set_is_one_line(train):
    import noisylabels as nl

    with pytest.raises(InputError, match=r"^train is a .*, expected a training set \(train, test = nl.load"):
        nl.corrupt_set(train, "symmetric:0.2")


def test_the_id_says_what_is_run_not_where_or_how():
    config = load_config(None, **FAST)
    same = {
        "out": "elsewhere",
        "data_root": "/data",
        "device": "cuda",
        "checkpoint_epochs": 7,
        "checkpoint_minutes": 1.0,
    }
    for name, value in same.items():
        assert run_id(load_config(None, **FAST | {name: value})) == run_id(config)
    assert re.fullmatch("[0-9a-f]{12}", run_id(config))
    other = {"seed": 1, "epochs": 3, "loss": "ce", "lr": 0.06, "precision": "bfloat16", "data": "cifar10"}
    other["validation"] = 0.1
    ids = {run_id(load_config(None, **FAST | {name: value})) for name, value in other.items()}
    assert len(ids | {run_id(config)}) == len(other) + 1


def test_the_id_does_not_depend_on_how_loss_and_noise_are_spelled():
    spelled = RunConfig(loss="MAE + 1*NCE", noise="symmetric:0.40")
    assert run_id(spelled) == run_id(RunConfig(loss="nce+mae", noise="symmetric:0.4"))
    assert run_id(spelled) != run_id(RunConfig(loss="nce+2*mae", noise="symmetric:0.4"))


def test_the_id_does_not_depend_on_how_the_data_path_is_spelled(tmp_path):
    ids = {run_id(RunConfig(data=f"{tmp_path}/{tail}")) for tail in ("photos", "photos/", "x/../photos")}
    assert len(ids) == 1
    assert run_id(RunConfig(data="./digits")) != run_id(RunConfig(data="digits"))  # a folder, and the name


def test_an_unknown_model_is_found_before_the_data_are_looked_for():
    with pytest.raises(InputError, match="unknown model 'cnn7'; did you mean 'cnn9'"):
        run(RunConfig(data="nowhere", model="cnn7"))


def test_a_loss_that_compares_views_needs_a_method_that_gives_it_two():
    with pytest.raises(
        InputError, match="'gjs' compares two views of each example, and the method elr gives"
    ):
        run(RunConfig(loss="gjs", method="elr"))
    assert resolve(RunConfig(loss="gjs")).config.loss == "gjs"


def test_a_second_process_in_the_same_folder_is_told_so(tmp_path):
    tmp_path.joinpath("run").mkdir()
    with (
        exclusive_lock(tmp_path / "run" / ".lock"),
        pytest.raises(InputError, match=r"another process is working in .*run"),
    ):
        run(fast(tmp_path / "run"))
    assert run(fast(tmp_path / "run")).status == "done"
    assert not (tmp_path / "run" / ".lock").exists()


@pytest.mark.parametrize(("name", "value"), [("ema", 0.9), ("validation", 0.1)])
def test_a_setting_that_a_finished_run_did_not_know_was_at_its_default(finished, tmp_path, name, value):
    old = tmp_path / "old"
    shutil.copytree(finished, old)
    config = json.loads((old / "config.json").read_text())
    del config[name]
    (old / "config.json").write_text(json.dumps(config))
    assert run(fast(old)).status == "done"
    with pytest.raises(InputError, match=rf"its {name} is 0.0, this one's {value}"):
        run(fast(old, **{name: value}))


def test_the_id_of_the_defaults_is_what_it_was():
    """Ids are in the names of folders that people have: a change of a default or a name changes them."""
    assert run_id(RunConfig()) == run_id(load_config())
    assert run_id(RunConfig(loss="nce+mae")) == "61a98e8a755e"  # which was the default once
    assert run_id(RunConfig()) == "487962a035b5"


def test_defaults_recipe_and_flags_go_over_each_other(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('epochs = 7\nlr = 1  # whole\nloss = "ce"\n')
    config = load_config(str(recipe), loss="mae")
    assert (config.epochs, config.lr, config.loss, config.momentum) == (7, 1.0, "mae", 0.9)
    assert isinstance(config.lr, float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", r"unknown key of mine.toml 'epoch'; did you mean 'epochs'"),
        ('epochs = "3"', "the key of mine.toml 'epochs' is '3' \\(str\\), expected int"),
        ("epochs = 1.5", "'epochs' is 1.5"),
        ("lr = nan", "'lr' is nan"),
        ("seed = -1", "seed is -1"),
        ("[training]\nlr = 1", "unknown key of mine.toml 'training'"),
        ("lr =", "mine.toml is not valid TOML"),
    ],
)
def test_a_wrong_recipe_is_one_clear_line(tmp_path, text, message):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        load_config(str(tmp_path / "mine.toml"))


def test_data_in_place_of_a_recipe_are_named(tmp_path):
    for name, what in (("e.csv", "a table"), ("E.Parquet", "a table"), ("a.npz", "a file of arrays")):
        (tmp_path / name).touch()
        with pytest.raises(InputError, match=f"{name} is {what}, .* did you mean --data .*{name}"):
            load_config(str(tmp_path / name))
    with pytest.raises(InputError, match=r"is a folder, .* did you mean --data "):
        load_config(str(tmp_path))
    for wrong, right in (("digts", "'digits'"), ("cifar1", "--data cifar10")):
        with pytest.raises(InputError, match=rf"no recipe '{wrong}'.*; did you mean {right}\?"):
            load_config(wrong)


def test_a_missing_recipe_names_those_there_are():
    with pytest.raises(InputError, match=r"there is no recipe 'papr'.*digits.*paper"):
        load_config("papr")
    with pytest.raises(InputError, match="unknown setting 'nois'; did you mean 'noise'"):
        load_config(None, nois="none")


def test_the_recipes_that_come_with_the_package_load():
    assert {"digits", "paper"} <= recipes().keys()
    for name in recipes():
        assert isinstance(load_config(name), RunConfig)
    paper = load_config("paper")
    assert (paper.data, paper.model, paper.epochs, paper.lr) == ("cifar10", "cnn8", 120, 0.01)


@pytest.mark.parametrize("data", ["digits", ".", "..", "/", "photos/", "a b/ü ñ"])
def test_the_default_folder_is_readable_and_unlike_any_other(data):
    long = "+".join(["0.25*nce"] * 60)
    for loss in ("nce+mae", long):
        out = resolve(load_config(None, data=data, loss=loss, noise="symmetric:0.4")).out
        assert out.parent == Path("runs")
        assert out.name.endswith(run_id(load_config(None, data=data, loss=loss, noise="symmetric:0.4")))
        assert len(out.name.encode()) < 255
        assert "/" not in out.name
        assert data == "/" or not out.name.startswith("-")
    short = load_config(None, data="digits", loss="nce+mae", noise="symmetric:0.4", seed=3)
    assert resolve(short).out.name == f"digits-symmetric_0.4-nce+mae-seed3-{run_id(short)}"


# --- a run --------------------------------------------------------------------------------------


def test_the_folder_of_a_run(finished):
    files = {file.name for file in finished.iterdir()}
    assert files == {
        "config.json",
        "environment.json",
        "history.jsonl",
        "labels.parquet",
        "model.safetensors",
        "result.json",
    }
    config = json.loads((finished / "config.json").read_text())
    assert RunConfig(**config) == fast(finished)
    result = json.loads((finished / "result.json").read_text())
    rows = [json.loads(line) for line in (finished / "history.jsonl").read_text().splitlines()]
    assert result["final"] == rows[-1]
    assert (result["status"], result["epochs"], result["message"]) == ("done", 2, "")
    assert result["run_id"] == run_id(fast(finished))
    assert result["train_seconds"] == pytest.approx(sum(row["train_seconds"] for row in rows))
    assert result["eval_seconds"] == pytest.approx(sum(row["eval_seconds"] for row in rows))
    labels = NoisyLabels.load(finished / "labels.parquet")
    assert result["noise"] == {
        "spec": labels.spec,
        "seed": 0,
        "rate": labels.rate,
        "digest": labels.digest,
    }
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["packages"]["torch"] == importlib.metadata.version("torch")
    assert environment["identity"]["labels"] == labels.digest


def test_a_finished_run_is_returned_and_not_trained_again(done):
    before = {file.name: file.stat().st_mtime_ns for file in done.iterdir()}
    reporter = Notes()
    result = run(fast(done), reporter)
    assert reporter.notes == [f"{done} is done already; remove it to run again"]
    assert reporter.steps == 0
    assert {file.name: file.stat().st_mtime_ns for file in done.iterdir()} == before
    assert isinstance(result, RunResult)
    assert (result.status, result.path) == ("done", done)
    assert result.class_names == tuple("0123456789")
    assert len(result.history) == 2
    assert result.history.final == result.final
    # where and how it is carried out makes no other run of it
    assert run(fast(done, device="auto", checkpoint_minutes=1.0)).final == result.final


def test_a_run_killed_between_its_result_and_the_tidying_up_is_tidied_up(done):
    (done / "checkpoint.pt").write_bytes(b"x")
    (done / ".checkpoint.pt.abc.tmp").write_bytes(b"x")
    (done / ".mine.tmp").write_bytes(b"x")
    run(fast(done))
    left = {file.name for file in done.iterdir()}
    assert not left & {"checkpoint.pt", ".checkpoint.pt.abc.tmp"}
    assert ".mine.tmp" in left  # not ours


def test_the_same_run_elsewhere_comes_to_the_same(finished, tmp_path):
    result = run(fast(tmp_path / "other"))
    assert (tmp_path / "other" / "model.safetensors").read_bytes() == (
        finished / "model.safetensors"
    ).read_bytes()
    assert result.final is not None
    assert result.final["test_accuracy"] == run(fast(finished)).final["test_accuracy"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_run_and_the_same_call_goes_on(finished, tmp_path, number):
    out = tmp_path / "run"
    with pytest.raises(Interrupted) as stopped:
        run(fast(out), Notes(stop_at=5, number=number))
    assert stopped.value.signal == number
    assert (out / "checkpoint.pt").exists()
    assert not (out / "result.json").exists()
    (out / ".checkpoint.pt.abc.tmp").write_bytes(b"half")  # as a kill leaves it
    reporter = Notes()
    run(fast(out, checkpoint_epochs=3), reporter)
    assert reporter.steps == 2 * 12 - 5
    assert (out / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()
    assert {f.name for f in out.iterdir()} == {f.name for f in finished.iterdir()}


def test_the_seed_and_not_the_loss_makes_the_labels(tmp_path):
    digests = {
        (loss, seed): run(fast(tmp_path / f"{loss}{seed}", loss=loss, seed=seed, epochs=1)).noise["digest"]
        for loss in ("ce", "mae")
        for seed in (0, 1)
    }
    assert digests["ce", 0] == digests["mae", 0] != digests["ce", 1] == digests["mae", 1]


def test_the_summary_says_how_good_the_chosen_epoch_is_beside_the_last(finished, tmp_path):
    assert "validation" not in summary(run(fast(finished)))
    out = tmp_path / "run"
    result = run(fast(out, validation=0.25, epochs=5, lr=0.5))
    rows = result.history.rows
    best = max(row["validation_accuracy"] for row in rows)
    row = next(row for row in rows if row["validation_accuracy"] == best)
    lines = summary(result).splitlines()
    assert lines[1] == f"  test accuracy                        {100 * rows[-1]['test_accuracy']:.2f} %"
    head = f"  at epoch {row['epoch']}, best on validation       "
    assert lines[2] == f"{head}{100 * row['test_accuracy']:.2f} %"
    assert result.final == rows[-1]


FASTER = "more epochs, or --loss ce, which learns fastest"
SMALLER = "; elr needs a smaller lambda_ for losses with small gradients, such as elr(lambda_=0.3)"


@pytest.mark.parametrize(
    ("loss", "method", "advice"),
    [
        ("ce", "standard", "more epochs"),
        ("nce", "standard", FASTER),
        ("nce", "elr(beta=0.9)", FASTER + SMALLER),
        ("gce", "elr_plus", FASTER + SMALLER.replace("elr", "elr_plus")),
        ("ce", "elr", "more epochs"),
    ],
)
def test_the_summary_says_what_to_change_if_a_class_is_dead(finished, loss, method, advice):
    result = run(fast(finished))
    head = "to let the model learn them"
    by = {"loss": loss, "config": result.config | {"method": method}}
    none, some = (by | {"final": result.final | {"dead_classes": dead}} for dead in ([], [3, 4]))
    assert head not in summary(dataclasses.replace(result, **none))
    lines = summary(dataclasses.replace(result, **some)).splitlines()
    at = next(k for k, line in enumerate(lines) if "dead classes" in line)
    assert lines[at].endswith(f"{result.class_names[3]}, {result.class_names[4]}")
    assert lines[at + 1] == f"  {head:36} {advice}"


def test_a_validation_split_of_no_example_leaves_nothing_behind(tmp_path, capsys):
    flags = ["--model", "mlp", "--loss", "ce", "--validation", "0.0001", "--out", str(tmp_path / "run")]
    assert main(["train", *flags]) == 2
    error = capsys.readouterr().err
    assert "a validation share of 0.0001 of 1438 training examples is 0, expected 1 to 1437" in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_run_on_a_long_tail_with_foreign_images_stops_and_goes_on(tmp_path):
    """Digits upside down are foreign here; what is trained on has fewer examples and other images."""
    import noisylabels as nl

    train, _ = nl.load("digits")
    foreign = {"images": train.images.flip(2).squeeze(1).numpy(), "labels": train.labels.numpy()}
    np.savez(tmp_path / "foreign.npz", **foreign)
    noise = f"longtail:0.3 | openset:0.2@{tmp_path / 'foreign.npz'} | symmetric:0.2"
    whole = run(fast(tmp_path / "whole", noise=noise))
    labels = NoisyLabels.load(tmp_path / "whole" / "labels.parquet")
    assert labels.spec == noise
    assert len(labels) < len(train)
    assert (labels.true == -1).sum() == (labels.foreign >= 0).sum() > 50
    assert whole.final["memorized"] is not None
    assert 0 <= whole.final["recovered"] <= 1
    changed, again = nl.corrupt_set(train, noise)
    assert again.digest == labels.digest
    assert len(changed) == len(labels)
    assert torch.equal(changed.labels, train.labels[labels.index])
    own = torch.from_numpy(labels.foreign < 0)
    assert torch.equal(changed.images[own], train.images[labels.index][own])
    loaded, _ = nl.load(tmp_path / "foreign.npz")  # a fifth of it is held out for testing, and is not used
    assert torch.equal(changed.images[~own], loaded.images[labels.foreign[labels.foreign >= 0]])
    first = int(np.flatnonzero(labels.foreign >= 0)[0])
    assert changed.ids[first] == f"foreign:{loaded.ids[labels.foreign[first]]}"
    out = tmp_path / "stopped"
    with pytest.raises(Interrupted):
        run(fast(out, noise=noise), Notes(stop_at=7))
    run(fast(out, noise=noise))
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "stopped")]
    assert files[0] == files[1]


def test_a_long_tail_alone_says_nothing_of_the_truth(tmp_path):
    result = run(fast(tmp_path / "run", noise="longtail:0.2", epochs=1))
    assert result.noise["spec"] == "longtail:0.2"
    assert result.final["true_accuracy"] is None
    assert result.final["memorized"] is None


def test_labels_of_a_run_serve_another(tmp_path):
    first = run(fast(tmp_path / "first", noise="instance:0.3", epochs=1))
    second = run(fast(tmp_path / "second", noise=f"labels:{tmp_path / 'first' / 'labels.parquet'}", epochs=1))
    same = ("train_loss", "given_accuracy", "true_accuracy", "memorized", "test_loss")
    assert all(first.final[name] == second.final[name] for name in same)
    # the file is not part of the run's id, but of what a run must agree on when it goes on
    assert second.noise["digest"] != first.noise["digest"]  # another spec


def test_a_finished_run_does_not_answer_for_another_file_of_labels(tmp_path):
    import noisylabels as nl

    whole = joined(*nl.load("digits"), by_rows=True)
    np.save(tmp_path / "labels.npy", whole.labels.numpy())
    config = fast(tmp_path / "run", noise=f"labels:{tmp_path / 'labels.npy'}", epochs=1)
    run(config)
    run(config)
    np.save(tmp_path / "labels.npy", whole.labels.flip(0).numpy())
    with pytest.raises(InputError, match=r"labels.npy has changed since the run in .* began; restore it"):
        run(config)
    (tmp_path / "labels.npy").unlink()
    assert run(config).status == "done"


def test_corrupt_set_takes_what_corrupt_takes():
    import noisylabels as nl

    train, _ = nl.load("digits")
    T = np.roll(np.eye(10), 1, axis=1)
    assert (nl.corrupt_set(train, T)[1].given == (train.labels.numpy() + 1) % 10).all()
    assert (nl.corrupt_set(train, "asymmetric:1", pairs={3: 5})[1].given[train.labels == 3] == 5).all()
    with pytest.raises(InputError, match="the foreign images of digits are those of the set itself"):
        nl.corrupt_set(train, "openset:0.1@digits")
    nameless = nl.image_set(train.images, train.labels, train.class_names, name="photos")
    with pytest.raises(InputError, match="labels without class names match none; name one as @cifar10"):
        nl.corrupt_set(nameless, "asymmetric:0.4")
    assert nl.corrupt_set(nameless, "asymmetric:0.4@digits")[1].rate > 0.1
    changed, labels = nl.corrupt_set(train, "longtail:0.5")
    assert changed.arranged == labels.arrangement != ""


def test_a_file_of_labels_may_name_test_images(tmp_path):
    import noisylabels as nl

    train, test = nl.load("digits")
    ids = [*test.ids, *train.ids]
    (tmp_path / "l.csv").write_text("id,label\n" + "".join(f"{name},3\n" for name in ids))
    result = run(fast(tmp_path / "run", noise=f"labels:{tmp_path / 'l.csv'}", epochs=1))
    assert result.noise["rate"] > 0.8
    with pytest.raises(InputError, match="which is not in the set"):
        nl.corrupt_set(train, f"labels:{tmp_path / 'l.csv'}")


def test_corrupt_set_leaves_a_set_alone_that_keeps_its_images():
    import noisylabels as nl

    train, _ = nl.load("digits")
    same, labels = nl.corrupt_set(train, "asymmetric:0.4", seed=2)
    assert same is train
    expected = nl.corrupt(train.labels, "asymmetric:0.4", seed=2, class_names=train.class_names)
    assert labels.digest == expected.digest


def test_images_that_are_not_square_take_no_foreign_ones(tmp_path):
    import noisylabels as nl

    wide = nl.image_set(torch.zeros(4, 1, 3, 5, dtype=torch.uint8), [0, 1, 0, 1], ("a", "b"))
    with pytest.raises(InputError, match="the images are 3x5, and foreign images need square ones"):
        nl.corrupt_set(wide, "openset:0.5@digits")
    with pytest.raises(InputError, match="'digts' is neither a file or folder nor a known data set; did you"):
        nl.corrupt_set(dataclasses.replace(wide, images=wide.images[..., :3]), "openset:0.5@digts")


# --- nothing is written when something is wrong -------------------------------------------------


def test_a_model_that_cannot_be_trained_leaves_no_folder(tmp_path):
    (tmp_path / "bare.py").write_text(
        "from torch import nn\n\n\nclass Bare(nn.Module):\n"
        "    def forward(self, images):  # and no __init__ of its own\n"
        "        return images.flatten(1)[:, :10]\n"
    )
    with pytest.raises(InputError, match="no parameters that require a gradient"):
        run(fast(tmp_path / "run", model=f"{tmp_path / 'bare.py'}:Bare", width=1.0))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "nec"}, "'nec'"),
        ({"data": " "}, "the data set is an empty text"),
        ({"noise": "symetric:0.4"}, "symetric"),
        ({"noise": "symmetric:1.4"}, "1.4"),
        ({"noise": "labels:nowhere.csv"}, "there is no file nowhere.csv"),
        ({"noise": "human:nowhere.pt@worse"}, "there is no file nowhere.pt"),
        ({"noise": "matrix:nowhere.csv"}, "there is no file nowhere.csv"),
        ({"noise": "openset:0.2@nowhere"}, "'nowhere' is neither a file or folder nor a known data set"),
        ({"noise": "openset:0.9@digits | openset:0.1@digits"}, "two stages add foreign images"),
        ({"noise": "symmetric:0.2 | longtail:0"}, "ratio is 0.0, expected a number in (0, 1]"),
        ({"model": "mpl"}, "unknown model 'mpl'; did you mean 'mlp'"),
        ({"model": "cnn8", "image_size": 4}, "too small for the model 'cnn8'"),
        ({"data": "digit"}, "did you mean 'digits'"),
        ({"augment": "cropp:4"}, "unknown augmentation 'cropp:4'"),
        ({"device": "cuda:77"}, "the device 'cuda:77' is not usable"),
        ({"width": 0.0}, "width is 0.0"),
        ({"bad_images": "maybe"}, "maybe"),
    ],
)
def test_a_wrong_name_or_value_writes_nothing(tmp_path, wrong, message):
    with pytest.raises(InputError, match=re.escape(message)):
        run(fast(tmp_path / "a" / "run", **wrong))
    assert list(tmp_path.iterdir()) == []


# --- whose folder it is -------------------------------------------------------------------------


def test_the_folder_of_another_run_is_refused(done):
    before = (done / "result.json").read_bytes()
    with pytest.raises(InputError, match=r"holds another run: its loss is 'nce\+mae', this one's 'ce'"):
        run(fast(done, loss="ce"))
    with pytest.raises(InputError, match="its seed is 0, this one's 1; give another --out"):
        run(fast(done, seed=1))
    assert (done / "result.json").read_bytes() == before


def test_a_file_and_a_parent_that_is_one_are_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(InputError, match="is a file, expected a folder for the run; give another --out"):
        run(fast(file))
    with pytest.raises(InputError, match=r"cannot be written: Not a directory"):
        run(fast(file / "run"))
    assert file.read_text() == "mine"


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="is not empty and not the folder of a run; give another --out"):
        run(fast(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_empty_folder_and_one_killed_during_its_first_write_are_fine(tmp_path, finished):
    (tmp_path / ".config.json.abc.tmp").write_text("{")
    (tmp_path / ".DS_Store").write_text("")
    assert run(fast(tmp_path)).status == "done"
    assert {f.name for f in tmp_path.iterdir()} == {f.name for f in finished.iterdir()} | {".DS_Store"}


@pytest.mark.parametrize("missing", ["labels.parquet", "environment.json"])
def test_a_folder_killed_between_its_first_files_is_completed(tmp_path, missing, finished):
    with pytest.raises(Interrupted):
        run(fast(tmp_path), Notes(stop_at=1))
    for name in {"labels.parquet", "environment.json", "checkpoint.pt"} - {"labels.parquet"} | {missing}:
        (tmp_path / name).unlink()
    run(fast(tmp_path))
    assert (tmp_path / "labels.parquet").read_bytes() == (finished / "labels.parquet").read_bytes()


# --- damaged files ------------------------------------------------------------------------------


@pytest.fixture
def started(tmp_path) -> Path:
    """The folder of a run that was stopped after three steps."""
    out = tmp_path / "started"
    with pytest.raises(Interrupted):
        run(fast(out), Notes(stop_at=3))
    return out


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "\udcff"])
@pytest.mark.parametrize("name", ["config.json", "environment.json", "result.json"])
def test_a_damaged_json_file_is_one_clear_line(request, name, content):
    out = request.getfixturevalue("done" if name == "result.json" else "started")
    (out / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    words = f"{name} (is not valid JSON|is .*, expected a valid dictionary).*remove"
    with pytest.raises(InputError, match=words) as error:
        run(fast(out))
    assert len(str(error.value).splitlines()) == 1


def test_a_result_of_something_else_is_one_clear_line(done):
    (done / "result.json").write_text('{"status": "done"}')
    with pytest.raises(InputError, match=r"result\.json lacks 'run_id'"):
        run(fast(done))


@pytest.mark.parametrize("keep", [0, 10, 5000])
def test_a_truncated_checkpoint_is_one_clear_line(started, keep):
    path = started / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"checkpoint\.pt is damaged .*; remove it to start over"):
        run(fast(started))
    path.unlink()
    assert run(fast(started)).status == "done"


def test_a_checkpoint_of_another_model_is_one_clear_line(started, tmp_path):
    with pytest.raises(Interrupted):
        run(fast(tmp_path / "wide", width=0.2), Notes(stop_at=3))
    shutil.copy(tmp_path / "wide" / "checkpoint.pt", started / "checkpoint.pt")
    with pytest.raises(InputError, match="is of another model or method; use another folder, or remove"):
        run(fast(started))


def test_data_that_changed_since_the_run_began_is_noticed(tmp_path):
    photos = tmp_path / "photos"
    draw = np.random.default_rng(0)
    for k in ("cat", "dog"):
        (photos / k).mkdir(parents=True)
        for i in range(10):
            image = draw.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(image).save(photos / k / f"{i}.png")
    out = tmp_path / "run"
    config = fast(out, data=str(photos), batch_size=4)
    with pytest.raises(Interrupted):
        run(config, Notes(stop_at=1))
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(photos / "cat" / "0.png")
    with pytest.raises(InputError, match=r"the data or labels of .* have changed since the run began"):
        run(config)
    shutil.rmtree(out)
    result = run(config)
    assert (result.status, result.class_names) == ("done", ("cat", "dog"))


OWN = "def own(l, a=1.0):\n    return a * (1 - l.exp())\n"


def test_a_loss_of_ones_own_is_part_of_what_a_run_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    config = fast(Path("run"), loss=" ./own.py:own + normalize(own.py:own(a=2))")
    assert canonical(config).loss == "normalize(own.py:own(a=2))+own.py:own"
    with pytest.raises(Interrupted):
        run(config, Notes(stop_at=7))
    digest = hashlib.sha256(OWN.encode()).hexdigest()
    assert json.loads(Path("run/environment.json").read_text())["identity"]["code files"] == {
        "own.py": digest
    }
    changed = r"^own.py has changed since the run in run began; restore it, give another --out, or"
    (tmp_path / "own.py").write_text(OWN + "# another\n")
    with pytest.raises(InputError, match=changed):
        run(config)
    (tmp_path / "own.py").write_text(OWN)
    result = run(config)
    # the same as the catalog's: its numbers too, but for the name
    known = run(fast(tmp_path / "known", loss="0.5*mae+nmae"))
    assert result.final["train_loss"] == pytest.approx(known.final["train_loss"], rel=1e-4)
    (tmp_path / "own.py").write_text(OWN + "# another\n")
    with pytest.raises(InputError, match=changed):
        run(config)
    (tmp_path / "own.py").unlink()
    with pytest.raises(InputError, match=r"there is no file own\.py for the loss"):
        run(config)
    _, test = load_sets(config)
    probs = predict(load_model(Path("run"), "cpu"), test.images)  # which needs the model alone
    accuracy = (probs.argmax(1) == test.labels).double().mean().item()
    assert accuracy == pytest.approx(result.final["test_accuracy"], abs=1e-9)


@pytest.mark.parametrize("spec", ["nets.py:build", "nets:build"])
def test_a_model_of_ones_own_is_part_of_what_a_run_is(tmp_path, monkeypatch, spec):
    monkeypatch.chdir(tmp_path)
    text = "from torch.nn import *\ndef build(num_classes):\n"
    text += "    return Sequential(Flatten(), Linear(64, num_classes))\n"
    (tmp_path / "nets.py").write_text(text)
    config = fast(Path("run"), model=spec, width=1.0, epochs=1)
    try:
        run(config)
        run(config)
        (tmp_path / "nets.py").write_text(text + "# another\n")
        with pytest.raises(InputError, match=rf"^{spec.partition(':')[0]} has changed since the run in run"):
            run(config)
        (tmp_path / "nets.py").unlink()  # a finished run answers all the same, as one whose labels are gone
        assert run(config).status == "done"
    finally:
        sys.modules.pop("nets", None)


# --- a run that fails ---------------------------------------------------------------------------


def explosive(out: Path, **more) -> RunConfig:
    return fast(out, **{"lr": 1e30, "loss": "ce", **more})


def test_a_failed_run_says_so_and_is_not_run_again(tmp_path, capsys):
    out = tmp_path / "run"
    result = run(explosive(out))
    assert result.status == "failed"
    assert re.match(r"training diverged in epoch 1, step \d+: the logits were not finite", result.message)
    assert result.final is None
    assert len(result.history) == 0
    assert json.loads((out / "result.json").read_text())["status"] == "failed"
    names = {file.name for file in out.iterdir()}
    assert "model.safetensors" not in names
    assert not any(name.endswith(".tmp") or name == "checkpoint.pt" for name in names)

    reporter = Notes()
    assert run(explosive(out), reporter) == result
    assert reporter.steps == 0
    assert reporter.notes == [f"{out} has failed already; remove it to run again"]

    capsys.readouterr()
    flags = [
        f"--{name.replace('_', '-')}={value}" for name, value in FAST.items() if name not in ("lr", "loss")
    ]
    code = main(["train", *flags, "--lr", "1e30", "--loss", "ce", "--out", str(out)])
    printed = capsys.readouterr()
    assert code == 1
    assert printed.out == ""
    lines = [line for line in printed.err.splitlines() if not line.startswith("note:")]
    assert lines == [f"noisylabels: {result.message} (recorded in {out})"]


def test_a_run_that_fails_later_keeps_its_history(tmp_path, monkeypatch):
    """NaN in the second epoch, seven steps in; the first epoch's row stays."""
    steps = 0

    def breaking(_expression: str) -> nn.Module:
        class Breaking(nn.Module):
            expression = "ce"
            needs = ()
            terms = ()

            def forward(self, logits, target):
                nonlocal steps
                steps += torch.is_grad_enabled()
                value = nn.functional.cross_entropy(logits, target)
                return value * float("nan") if steps == 12 + 7 else value

        return Breaking()

    monkeypatch.setattr("noisylabels.losses.expression.loss", breaking)
    result = run(fast(tmp_path))
    assert result.status == "failed"
    assert "in epoch 2, step 7: the loss was not finite although the logits were" in result.message
    assert result.final is not None
    assert (result.final["epoch"], len(result.history)) == (1, 1)
