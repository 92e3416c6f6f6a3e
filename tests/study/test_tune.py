"""The search by noisy validation labels: what it searches, what it tells apart, and that nothing is lost."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import noisylabels
from noisylabels.cli import main
from noisylabels.cli.parser import parse
from noisylabels.cli.train import Train
from noisylabels.cli.tune import command_line, summary
from noisylabels.core.checks import InputError
from noisylabels.core.config import to_dict
from noisylabels.core.interrupt import Interrupted
from noisylabels.experiment import Notes, RunConfig, Silent, canonical, load_config, read_result
from noisylabels.experiment.table_settings import canonical_names
from noisylabels.study.search_space import applied, dimensions
from noisylabels.study.tune import STARTUP, Tried, Tuned, tune
from warm_process import WarmPopen

optuna = pytest.importorskip("optuna")

FAST: dict[str, Any] = {
    "model": "mlp",
    "width": 0.1,
    "epochs": 2,
    "lr": 0.05,
    "noise": "symmetric:0.3",
    "loss": "nce+mae",
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def fast(**more: Any) -> RunConfig:
    return load_config(None, **FAST | {"out": "search"} | more)


def journal(out: str = "search") -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(f"{out}/trials.jsonl")
    )
    found: list[optuna.trial.FrozenTrial] = optuna.load_study(study_name="tune", storage=storage).trials
    return found


# --- what is searched ----------------------------------------------------------------------------


def test_a_share_of_the_training_set_gives_as_many_validation_labels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = tune(load_config("digits", **FAST | {"epochs": 1, "train_share": 0.25, "out": "part"}), 1)
    assert found.validation == 36  # a tenth of 359, not of 1,438


def test_what_is_searched_around_a_sum() -> None:
    space = {each.name: each for each in dimensions(fast(loss="2*nfl(gamma=0.5)+agce(a=6,q=1.5)"))}
    assert list(space) == [
        "weight of agce", "weight of nfl", "a of agce", "q of agce", "gamma of nfl", "lr",
    ]  # fmt: skip
    assert (space["weight of nfl"].low, space["weight of nfl"].high) == (0.2, 20)
    assert (space["lr"].low, space["lr"].high) == pytest.approx((0.005, 0.5))
    assert space["q of agce"].high == 6
    assert [each.name for each in dimensions(fast(loss="gce"))] == ["q of gce", "lr"]
    assert [each.name for each in dimensions(fast(loss="nce+rce"), ["weights"])] == [
        "weight of nce",
        "weight of rce",
    ]
    assert {each.name for each in dimensions(fast(loss="gce(q=0.2)+gce(q=0.7)"))} >= {
        "q of gce 1",
        "q of gce 2",
    }


def test_weights_that_vary_are_scaled_or_left_to_their_rule() -> None:
    for weight in ("2*linear(0.1,10)", "2*auto(rule=agreement)"):
        config = canonical(fast(loss=f"nce+{weight}*mae"))
        space = {each.name: each for each in dimensions(config)}
        assert list(space) == ["weight of nce", "weight of mae", "lr"]
        assert (space["weight of mae"].low, space["weight of mae"].high) == (0.2, 20)
        scaled = applied(config, {"weight of mae": 5.0}).loss
        assert scaled == canonical(fast(loss=f"nce+2.5*{weight}*mae")).loss
    for rule in ("accuracy", "gradient"):
        config = canonical(fast(loss=f"nce+2*auto(rule={rule})*mae"))
        assert [each.name for each in dimensions(config)] == ["weight of nce", "lr"]


def test_a_factor_of_the_rule_gradient_has_no_effect() -> None:
    """Which is why it is not searched."""
    logits, labels = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 5
    values = [float(noisylabels.loss(f"nce+{factor}*auto*mae")(logits, labels)) for factor in (0.2, 1, 20)]
    assert values == pytest.approx([values[0]] * 3, rel=1e-5)


def test_limits_of_parameters_are_kept() -> None:
    (q, _) = dimensions(fast(loss="gce(q=0.9)"))
    assert 0.22 < q.low < 0.9 < q.high < 1
    (q, _) = dimensions(fast(loss="gce(q=1)"))
    assert (q.start, q.high) == (1, 1)
    for loss in ("gce(q=1)", "tgce", "js", "phuber_ce", "aul", "taylor_ce", "poly1", "nce+agce@cifar10"):
        config = canonical(fast(loss=loss))
        for each in dimensions(config):
            assert each.low <= each.start <= each.high
            for value in (each.low, each.high):
                applied(config, {each.name: value})  # which the loss takes


def test_where_it_starts_is_the_configuration_itself() -> None:
    for loss in ("nce+mae", "nce+agce@cifar10", "ce", "2*nfl+0.5*rce(A=-4)"):
        config = canonical(fast(loss=loss))
        same = applied(config, {each.name: each.start for each in dimensions(config)})
        assert same == config


# --- the search ----------------------------------------------------------------------------------


def test_a_search_is_of_ordinary_runs_and_finds_the_best() -> None:
    notes: list[str] = []
    found = tune(fast(), 4, reporter=Notes(notes.append))
    assert [trial.number for trial in found.tried] == [1, 2, 3, 4]
    assert found.tried[0].config.loss == "nce+mae"
    assert found.validation == round(0.1 * 1438)
    folders = {path.name: read_result(path) for path in Path("search/trials").iterdir()}
    assert len(folders) == 4
    values = [result.history.rows[-1]["validation_accuracy"] for result in folders.values()]
    assert found.ranked[0].value == max(values)
    assert sorted(trial.value or 0 for trial in found.tried) == sorted(values)
    best = found.ranked[0]
    assert canonical(best.config).lr == best.config.lr
    assert any(note.startswith("trial 4 of 4: loss ") for note in notes)
    assert len({result.noise["digest"] for result in folders.values()}) == 1
    # done is done, and more can be asked for
    again = tune(fast(), 4, reporter=Silent())
    assert again.tried == found.tried
    assert len(tune(fast(), 5).tried) == 5


def test_an_interrupted_search_goes_on_to_the_same_end() -> None:
    whole = tune(fast(out="whole"), 4)
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps in (7, 40, 60)

    interruptions = 0
    while True:
        try:
            parts = tune(fast(), 4, stop=stop)
            break
        except Interrupted:
            interruptions += 1
    assert interruptions == 3
    assert [(t.number, t.state, t.value) for t in parts.tried] == [
        (t.number, t.state, t.value) for t in whole.tried
    ]
    assert [t.config.loss for t in parts.tried] == [t.config.loss for t in whole.tried]


def test_a_killed_search_counts_no_trial_twice(tmp_path: Path) -> None:
    """SIGKILL in the midst of a trial, and half a line at the journal's end."""
    words = "tune --model mlp --width 0.1 --epochs 20 --noise symmetric:0.3 --loss nce+mae --lr 0.05"
    words += " --device cpu --out search"
    command = ["-m", "noisylabels", *words.split(), "--trials", "3", "--no-prune"]
    source = str(Path(noisylabels.__file__).parents[1])
    process = WarmPopen(command, env=os.environ | {"PYTHONPATH": source}, stderr=subprocess.DEVNULL)
    for _ in range(1200):
        if list(Path("search").glob("trials/*/checkpoint.pt")):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with Path("search/trials.jsonl").open("a") as file:
        file.write('{"op_code": 6, "wor')
    begun = {path.name for path in Path("search/trials").iterdir()}
    config = fast(epochs=20)
    found = tune(config, 3, prune=False)
    assert len(found.tried) == 3
    assert len(list(Path("search/trials").iterdir())) == 3
    assert begun <= {path.name for path in Path("search/trials").iterdir()}
    states = [trial.state.name for trial in journal()]
    assert states.count("COMPLETE") == 3
    assert states.count("FAIL") <= 1
    assert "RUNNING" not in states


def test_bad_trials_end_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the sixth trial on one that is below the median is ended; the pruner is shown no test number."""
    seen: list[dict[str, Any]] = []

    class Watching(Silent):
        def epoch(self, row: dict[str, Any]) -> None:
            seen.append(row)

    found = tune(fast(epochs=4, loss="ce"), STARTUP + 7, reporter=Watching())
    states = [trial.state for trial in found.tried]
    assert set(states[:STARTUP]) == {"whole"}
    assert "pruned" in states
    assert not any(name.startswith("test") for row in seen for name in row)
    pruned = next(trial for trial in journal() if trial.state.name == "PRUNED")
    assert max(pruned.intermediate_values) < 4
    folders = list(Path("search/trials").iterdir())
    unfinished = [folder for folder in folders if not (folder / "result.json").exists()]
    assert unfinished
    assert not any((folder / "checkpoint.pt").exists() for folder in unfinished)


def test_a_loss_that_nobody_named_is_chosen_first() -> None:
    notes: list[str] = []
    found = tune(fast(loss="auto"), 1, search=["lr"], reporter=Notes(notes.append))
    assert found.start.loss == "4*gce"
    assert any(note.startswith("loss 4*gce: 10 classes") for note in notes)
    assert tune(fast(loss="auto"), 1, search=["lr"]).tried == found.tried


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            {},
            {"by": "test_accuracy"},
            "trials cannot be compared by 'test_accuracy': test data must not select",
        ),
        ({}, {"by": "train_loss"}, "compared by 'train_loss': it is not supported"),
        ({}, {"search": ["lr", "weigths"]}, "unknown thing to search 'weigths'; did you mean 'weights'"),
        (
            {"loss": "ce"},
            {"search": ["weights"]},
            "'ce' has nothing to search among weights; add lr to --search",
        ),
        ({}, {"trials": 0}, "trials is 0, expected an integer of 1 or more"),
        ({"lr": 0.1}, {}, "search holds another search: its lr is 0.05, expected 0.1; give another --out"),
        ({}, {"search": ["lr"]}, "search holds another search: its search is"),
        ({"out": "full"}, {}, "full is not empty and holds no search"),
    ],
)
def test_what_cannot_be_searched_is_one_line(
    change: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    if "another search" in message:
        tune(fast(epochs=1), 1)
        change = {"epochs": 1} | change
    Path("full").mkdir()
    Path("full/notes.txt").touch()
    with pytest.raises(InputError, match=message.replace("(", r"\(")) as caught:
        tune(fast(**change), options.pop("trials", 1), **options)
    assert "\n" not in str(caught.value)


def test_a_changed_file_of_labels_is_another_search() -> None:
    Path("given.csv").write_text("id,label\ndigits:0,3\n")
    tune(fast(epochs=1, labels="given.csv"), 1)
    Path("given.csv").write_text("id,label\ndigits:0,4\n")
    with pytest.raises(InputError, match="another search: its files is"):
        tune(fast(epochs=1, labels="given.csv"), 2)


def test_a_missing_optuna_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"pip install 'noisylabels\[tune\]'"):
        tune(fast(), 1)


# --- the verb ------------------------------------------------------------------------------------


def test_the_command_prints_the_best_and_how_to_train_it(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tune", "digits", "--noise", "symmetric:0.3", "--loss", "nce+mae", "--epochs", "1"]
    words += ["--model", "mlp", "--width", "0.1", "--trials", "2", "--out", "search", "--device", "cpu"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "2 trials: 2 complete, 0 stopped early, 0 diverged" in shown
    assert "% on 144 noisy validation labels" in shown
    assert "test" not in shown
    line = next(line for line in shown.splitlines() if "noisylabels train" in line)
    command = parse(shlex.split(line)[1:])
    assert isinstance(command, Train)
    config = command.settings
    assert (config.epochs, config.validation, config.model) == (1, 0.0, "mlp")
    settings = {"noise": "symmetric:0.3", "loss": "nce+mae", "epochs": 1, "model": "mlp", "width": 0.1}
    found = tune(load_config("digits", **settings, out="search", device="cpu"), 2)
    assert config.loss == found.ranked[0].config.loss
    assert config.lr == found.ranked[0].config.lr
    assert json.loads(Path("search/tune.json").read_text())["validation"] == 144


def test_the_command_of_a_configuration_is_that_configuration() -> None:
    config = canonical(load_config("digits", loss="2*nce+mae", labels="my labels.csv", noise="symmetric:0.4"))
    command = parse(shlex.split(command_line(config))[1:])
    assert isinstance(command, Train)
    assert canonical(command.settings) == config


@pytest.mark.parametrize("data", ["table.csv", "texts.csv", "photos"])
@pytest.mark.parametrize(
    "settings",
    [
        {"features": "none"},
        {"optimizer": "sgd", "lr": 0.123456789, "model": "mlp", "table_recipe": ""},
        {"epochs": 2, "loss": "nce+rce", "table_recipe": ""},
    ],
    ids=str,
)
def test_the_command_names_what_the_data_would_decide(data: str, settings: dict[str, Any]) -> None:
    Path("table.csv").write_text("a,b,label\n" + "1,2,x\n3,4,y\n" * 5)
    Path("texts.csv").write_text("text,label\n" + "a text of several words in a row,x\nmore of them,y\n" * 5)
    for name in ("x", "y"):
        Path(f"photos/{name}").mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(f"photos/{name}/1.png")
    config = RunConfig(data=data, **settings)
    command = parse(shlex.split(command_line(config))[1:])
    assert isinstance(command, Train)
    assert replace(command.settings, table_recipe=canonical_names(command.settings.table_recipe)) == config


def test_a_search_of_a_table_ends_with_the_command_that_trains_its_best(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("table.csv").write_text("a,b,label\n" + "".join(f"{i},{i % 7},{'xy'[i % 2]}\n" for i in range(300)))
    words = [
        "tune",
        "--data",
        "table.csv",
        "--model",
        "mlp",
        "--loss",
        "ce",
        "--epochs",
        "1",
        "--trials",
        "1",
    ]
    for more in ([], ["--optimizer", "sgd", "--validation", "0"]):
        out = f"search{len(more)}"
        assert main([*words, *more, "--out", out]) == 0
        shown = capsys.readouterr().out
        line = next(line for line in shown.splitlines() if "noisylabels train" in line)
        command = parse(shlex.split(line)[1:])
        assert isinstance(command, Train)
        (trial,) = Path(out, "trials").glob("*/config.json")
        tried = json.loads(trial.read_text())
        own = {"validation": 0.0, "keep_epoch": "last"} if more else {}
        assert to_dict(canonical(command.settings), ["out"]) == {
            name: value for name, value in (tried | own).items() if name != "out"
        }


def test_equals_of_the_best_are_counted() -> None:
    config = canonical(fast())
    tried = [Tried(k, "whole", value, config) for k, value in enumerate((0.50, 0.60, 0.585, 0.3, 0.57))]
    tried.append(Tried(5, "pruned", 0.9, config))
    found = Tuned(config, 600, tuple(tried), Path("x"))
    assert found.error == pytest.approx(0.02)
    text = summary(found, replace(config, validation=0.0))
    assert "60.00 %" in text
    assert "2.00 points (standard error): 1 other trial is within it" in text
    assert "6 trials: 5 complete, 1 stopped early, 0 diverged" in text


@pytest.mark.parametrize("values", [(0.0, 0.0), (1.0, 11 / 12)])
def test_all_of_a_few_labels_are_no_certainty(values: tuple[float, ...]) -> None:
    config = canonical(fast())
    tried = [Tried(number, "whole", value, config) for number, value in enumerate(values)]
    assert Tuned(config, 12, tuple(tried), Path("x")).error == pytest.approx(
        (0.5 / 12 * 11.5 / 12 / 12) ** 0.5
    )


def test_a_time_budget_ends_a_search_that_goes_on_later(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tune", "--model", "mlp", "--width", "0.1", "--epochs", "500", "--loss", "ce"]
    words += ["--trials", "2", "--out", "search", "--time-budget", "1s"]
    assert main([*words, "--device", "cpu"]) == 0
    assert "the time is up; run the same command again to resume" in capsys.readouterr().err
    assert [trial.state.name for trial in journal()] == ["RUNNING"]


def test_a_signal_within_a_time_budget_is_in_the_exit_code(monkeypatch, capsys) -> None:
    """Also if the time is up when its checkpoint is written."""

    def interrupted(*args: Any, stop: Any, **more: Any) -> None:
        assert not stop()
        error = Interrupted(1, 1)
        error.signal = signal.SIGTERM
        time.sleep(0.3)
        raise error

    monkeypatch.setattr("noisylabels.study.tune.tune", interrupted)
    assert main(["tune", "--time-budget", "0.2s", "--device", "cpu"]) == 143
    assert "the time is up" not in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{}", "[]", '{"config": {}}'])
def test_a_folder_of_something_else_is_one_line(text: str) -> None:
    Path("search").mkdir()
    Path("search/tune.json").write_text(text)
    with pytest.raises(InputError, match=r"tune\.json.* (lacks|expected) .*; restore it, or give another"):
        tune(fast(epochs=1), 1)


def test_trials_on_other_data_are_not_added() -> None:
    rows = [f"{k % 7},{k // 2},{'xy'[k % 2]}" for k in range(80)]
    Path("table.csv").write_text("\n".join(["a,b,label", *rows]) + "\n")
    config = fast(data="table.csv", noise="none", epochs=1)
    first = tune(config, 1)
    Path("table.csv").write_text("\n".join(["a,b,label", "3,3,x", *rows]) + "\n")
    assert tune(config, 1).tried == first.tried  # what is done is done
    with pytest.raises(
        InputError, match=r"table.csv has changed since the trials in search; give another --out"
    ):
        tune(config, 2)
