"""The comparisons of weights agree with computations by hand, and equal budgets are equal."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from noisylabels.core.checks import InputError
from noisylabels.experiment import load_config, run
from noisylabels.losses import loss
from noisylabels.study.grid import load_study
from noisylabels.study.results import Results, Run

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import hundred_classes  # noqa: E402
import tune_budgets  # noqa: E402
import weights_table  # noqa: E402
from found_runs import words  # noqa: E402

PLAIN, RULE, CHOICE = "nce+mae", "nce+auto(rule=gradient)*mae", loss("nce+agce@cifar10").expression
NOISES = ("symmetric:0.4@exact", "human:elsewhere/cifar10n.parquet@worse")


def results(values: dict[tuple[str, str], list[float]]) -> Results:
    """Return finished runs: (loss, noise) -> test accuracy by seed."""
    return Results(
        [
            Run(
                f"{name}-{noise}-{seed}",
                "done",
                "",
                {"loss": name, "noise": noise, "seed": seed, "data": "digits", "model": "m", "epochs": 1},
                {"epoch": np.ones(1), "test_accuracy": np.array([value])},
            )
            for (name, noise), found in values.items()
            for seed, value in enumerate(found)
        ]
    )


def test_the_studies_compare_with_presets_and_with_the_choice_of_auto():
    for name, setting in weights_table.SETTINGS.items():
        study = load_study(str(ROOT / "benchmarks" / "studies" / f"weights-{name}.toml"))
        losses = {loss(each).expression for each in study.axes["loss"]}
        special = {loss(each).expression for each in setting.special.values()}
        assert len(special) == 4
        assert {PLAIN, weights_table.FIXED, RULE, *special} <= losses
        assert "none" in study.axes["noise"]
        assert len(study.axes["seed"]) == 8


def test_the_tables_of_the_page_are_made_of_the_runs(tmp_path, capsys):
    page = ROOT / "docs" / "measured-weights.md"
    document = tmp_path / "page.md"
    document.write_text(re.sub(r"\d\.\d ±", "9.9 ±", page.read_text(encoding="utf-8")), encoding="utf-8")
    paths = [
        *(ROOT / "results").glob("weights-*/runs.parquet"),
        *ROOT.glob("results/benchmarks/weights-*.md"),
    ]
    assert len(paths) >= 2
    for path in paths:
        there = tmp_path / path.relative_to(ROOT)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, there)
    weights_table.main(weights_table.Options(tmp_path / "results", document))
    assert document.read_text(encoding="utf-8") == page.read_text(encoding="utf-8")
    capsys.readouterr()
    name = "weights/table.md"
    made, kept = ((folder / "results" / name).read_text(encoding="utf-8") for folder in (tmp_path, ROOT))
    assert made == kept


def test_pooled_gains():
    rng = np.random.default_rng(0)
    losses = (PLAIN, RULE, CHOICE, "nce+5*mae", "nce+0.5*mae")
    accuracy = rng.uniform(0.5, 0.9, (2, len(losses), len(NOISES), 4))
    accuracy[:, 1] = accuracy[:, 2] + 0.05 + rng.uniform(-1e-3, 1e-3, accuracy[:, 1].shape)
    accuracy[1, 1] -= 0.2  # features, for which auto does not choose nce+agce
    # larger gains of the presets on average, with an interval that contains 0
    accuracy[:, 3:] = accuracy[:, 2:3] + np.array([-0.3, 0.5, -0.3, 0.5])

    def of(data: int) -> Results:
        cells = [(name, noise) for name in losses for noise in NOISES]
        found = dict(zip(cells, accuracy[data].reshape(-1, 4).tolist(), strict=True))
        return results(found | {("nce+0.1*mae", NOISES[0]): [0.9] * 4})

    table = weights_table.pooled({"digits": of(0), "frozen": of(1)})
    rows = {row[0]: row[1:] for row in table.rows}
    assert "nce+0.1*mae" not in rows  # not under every noise
    gains = 100 * (accuracy[:, 1] - accuracy[:, 0]).mean(1)  # setting, seed
    whole = stats.ttest_ind(gains[0], -gains[1], equal_var=False).confidence_interval()  # twice the mean
    alone = [stats.ttest_1samp(values, 0).confidence_interval() for values in gains]
    ends = [*((each.low, each.high) for each in alone), (whole.low / 2, whole.high / 2)]
    for shown, (low, high) in zip(rows[RULE], ends, strict=False):
        assert shown == f"{(low + high) / 2:+.1f} ({low:+.1f} to {high:+.1f})".replace("-", "−")
    presets = [100 * (accuracy[data, 3 + data] - accuracy[data, 0]).mean() for data in range(2)]
    assert [cell.split()[0] for cell in rows[weights_table.PRESET][:2]] == [
        f"{p:+.1f}".replace("-", "−") for p in presets
    ]
    assert rows[RULE][3].startswith("+5.0 (")
    assert f"of 2 alternatives 1 is better; the best is {RULE}, by +5.0 (" in table.note


def test_nothing_is_better_without_evidence():
    values = {
        (name, NOISES[0]): [level, level + 0.1]
        for name, level in ((PLAIN, 0.5), (RULE, 0.6), ("nce+5*mae", 0.4))
    }
    note = weights_table.pooled({"digits": results(values)}).note
    assert "`--loss auto` chooses nce+agce; it was not run beside them" in note
    values[CHOICE, NOISES[0]] = [0.65, 0.75]
    note = weights_table.pooled({"digits": results(values)}).note
    assert f"of 2 alternatives 0 are better; the best is {RULE}, by −5.0" in note


def test_the_loss_with_weights_of_one():
    there = [PLAIN, "mae+mse", "nce+mae+mse"]
    for name, base in (
        ("10*nce+0.5*mae", PLAIN),
        ("auto(rule=noise)*mae+mse", "mae+mse"),
        ("nce+auto(rule=noise)*mae+mse", "nce+mae+mse"),
        (CHOICE, PLAIN),
    ):
        assert weights_table.base_of(name, there) == base
    assert words(NOISES[1]) == "human worse"


def test_parts_of_classes():
    rng = np.random.default_rng(0)
    centers = 50 * rng.standard_normal((2 * hundred_classes.PARTS, 8))
    part = np.arange(2 * hundred_classes.PARTS).repeat(30)
    rows, test_rows = (centers[part] + rng.standard_normal((len(part), 8)) for _ in range(2))
    labels, test_labels = hundred_classes.parted(rows, part // 10, test_rows, part // 10)
    assert (labels // 10 == part // 10).all()
    assert (test_labels == labels).all()
    assert len(np.unique(labels)) == 20


@pytest.mark.parametrize("name", tune_budgets.APPROACHES)
def test_an_approach_keeps_to_its_budget(name):
    config = load_config("digits", noise="symmetric:0.4@exact", epochs=2, train_share=0.1, seed=1)
    row = tune_budgets.measured(config, name, 5, "mnist", 10)
    approach = tune_budgets.APPROACHES[name]
    one = config.epochs + (2 if "accuracy" in name else 0)
    assert row["epochs"] <= 5 * config.epochs
    if approach.search:
        assert row["trials"] >= 1
        assert row["epochs"] > 5 * config.epochs - one
    else:
        assert row["epochs"] == (10 if approach.long else 2)
    if "preset" in name:
        assert row["loss"] == "nce+5*mae"
    assert 0 <= row["accuracy"] <= 1
    assert "rule=accuracy" not in row["trained"]


def test_the_short_trainings_of_the_rule_accuracy_count(tmp_path):
    config = load_config(
        "digits",
        loss="nce+auto(rule=accuracy)*mae",
        epochs=5,
        train_share=0.1,
        seed=1,
        out=str(tmp_path / "run"),
    )
    run(config)
    chosen = json.loads((tmp_path / "run" / "environment.json").read_text(encoding="utf-8"))["chosen"]
    spent = sum(each["epochs"] * len(each["accuracy"]) for each in chosen["rounds"])
    assert tune_budgets.epochs_before(config) == spent > 0
    with pytest.raises(InputError, match="the budget is 10 epochs, expected"):
        tune_budgets.search(config, ("lr",), 10)


def test_the_table_of_budgets():
    accuracy = {
        "1:1, one training": ([0.5, 0.6], [0.4, 0.5]),
        tune_budgets.SEARCHED: ([0.6, 0.7], [0.5, 0.5]),
        "tune: weights and learning rate": ([0.7, 0.82], [0.61, 0.61]),
    }
    rows = [
        {
            "approach": name,
            "noise": noise,
            "seed": seed,
            "accuracy": value,
            "epochs": 30,
            "trials": 4,
            "trainings": 5,
        }
        for name, both in accuracy.items()
        for noise, values in zip(("symmetric 0.4", "clean"), both, strict=True)
        for seed, value in enumerate(values)
    ]
    text = tune_budgets.table(rows, "digits")
    line = next(line for line in text.splitlines() if line.startswith("| tune"))
    half = stats.t.ppf(0.975, 1) * 0.25  # the mean gains by seed are 10.5 and 11.5 points
    assert line.endswith(f"| +11.0 ({11 - 2 * half:+.1f} to {11 + 2 * half:+.1f}) |")
    assert "| 76.0 ± 8.5 | +11.0 " in line
    assert "(interval above 0): tune: weights and learning rate." in text
    assert "Worse (below 0): none." in text


def test_finished_approaches_are_not_repeated():
    cell = SimpleNamespace(config=SimpleNamespace(noise=NOISES[1], seed=3, data="digits"))
    known = [
        {"noise": "human worse", "seed": 3, "trainings": 5, "approach": name}
        for name in tune_budgets.APPROACHES
    ]
    assert tune_budgets.rows_of(cell, 10, 5, known) == []
    assert len(tune_budgets.rows_of(cell, 10, 5, known[1:])) == 1
    assert len(tune_budgets.rows_of(cell, 10, 6, known)) == len(known)
