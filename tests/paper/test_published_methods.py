"""Published accuracies of methods: the numbers, best and last epochs, and which of ours stand beside them."""

from __future__ import annotations

import importlib.util
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from noisylabels.core.config import to_dict
from noisylabels.experiment import load_config
from noisylabels.methods.catalog import METHODS
from noisylabels.noise import MAPS
from noisylabels.paper import published_methods
from noisylabels.paper.published import published
from noisylabels.paper.published_methods import OURS, compare_methods, method_tables
from noisylabels.paper.published_tables import comparison_tables
from noisylabels.study.results import Results, Run, split

DOCS = Path(__file__).parents[2] / "docs"


def test_the_numbers_and_their_kinds():
    rows = published(collection="methods")
    assert len(rows) == 312
    assert sum(row.secondary for row in rows) == 284
    assert {row.source.key for row in rows if not row.secondary} == {"SSR 2022", "AugDesc 2021"}
    assert Counter(row.epoch for row in rows) == {
        None: 224,
        "best": 36 + 14 + 20,
        "mean of the last 10": 14,
        "last": 4,
    }


@pytest.mark.parametrize(
    ("given", "means"),
    [
        # the tables of the two READMEs, by eye
        ({"source": "SSR 2022", "method": "SSR+", "dataset": "CIFAR-100"}, [79.7, 77.2, 71.9, 66.6]),
        ({"source": "SSR 2022", "method": "Co-teaching+", "dataset": "CIFAR-10"}, [89.5, 85.7, 67.4, 47.9]),
        ({"source": "SSR 2022", "method": "F-correction", "noise_type": "asymmetric"}, [87.2]),
        (
            {"source": "AugDesc 2021", "method": "DivideMix", "dataset": "CIFAR-10", "epoch": "best"},
            [96.1, 94.6, 93.2, 76.0, 93.4],
        ),
        (
            {"source": "AugDesc 2021", "method": "DivideMix", "epoch": "mean of the last 10", "rate": 0.5},
            [94.4, 74.2],
        ),
    ],
)
def test_the_numbers_of_sources(given, means):
    assert [row.mean for row in published(collection="methods", **given)] == means


def test_the_best_epoch_is_never_below_the_last_of_the_same_run():
    best, last = (
        {(row.dataset, row.noise_type, row.rate, row.method): row.mean for row in published(epoch=epoch)}
        for epoch in ("best", "mean of the last 10")
    )
    assert len(last) == 14
    assert all(best[key] >= mean for key, mean in last.items())


def test_every_number_is_in_a_table_once():
    tables = method_tables()
    assert len(tables) == 8
    assert sum(cell is not None for table in tables for row in table.rows for cell in row[4:]) == 312


def test_the_page_is_generated():
    spec = importlib.util.spec_from_file_location("docs_make_published", DOCS / "make_published.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert made.PAGE.read_text(encoding="utf-8") == made.text(), "run python docs/make_published.py"


# Comparisons --------------------------------------------------------------------------------------


def study(*methods: str, model: str = "resnet34", noise: str = "symmetric:0.4", **settings) -> Results:
    """Return results of made-up runs by methods."""
    runs = []
    for method in methods:
        for seed, accuracy in enumerate((0.9, 0.92)):
            given = {
                "loss": "ce",
                "method": method,
                "noise": noise,
                "seed": seed,
                "model": model,
                "epochs": 150,
            }
            config = to_dict(load_config("paper", **{**given, **settings}))
            curves = {"epoch": np.array([1.0]), "test_accuracy": np.array([accuracy])}
            names = MAPS["cifar10"].class_names
            runs.append(Run(f"{method} {seed}", "done", "", config, curves, class_names=names))
    (found,) = split(runs)
    return found


def test_ours_are_methods_of_the_catalog():
    assert set(OURS.values()) <= set(METHODS)
    assert set(OURS) <= {row.method for row in published()}


def made_up(monkeypatch, **changes) -> None:
    """Let one published accuracy of ELR state its whole recipe, with changes."""
    (row,) = published(
        source="ELR 2020, README copy", method="ELR", dataset="CIFAR-10", noise_type="symmetric", rate=0.4
    )
    source = replace(row.source, symmetric=changes.pop("symmetric", "plain"))
    whole = replace(row, source=source, epochs=150, metric="last epoch")
    monkeypatch.setattr(published_methods, "published", lambda: (replace(whole, **changes),))


def test_a_number_with_our_recipe_stands_beside_ours(monkeypatch):
    made_up(monkeypatch)
    (pair,) = compare_methods(study("standard", "elr"))
    assert (pair.loss, pair.noise, pair.published.mean) == ("ce by elr", "symmetric:0.4", 89.15)
    assert pair.ours.mean == pytest.approx(91.0)
    tables, reason = comparison_tables(study("elr"))
    assert reason == ""
    assert [table.name for table in tables] == ["comparison-methods"]
    assert tables[0].rows[0][:4] == (
        "ce by elr",
        "symmetric:0.4",
        "ELR",
        "ELR 2020, README copy (second hand)",
    )


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"symmetric": ""}, {}),  # not stated
        ({"symmetric": "uniform"}, {}),
        ({"epochs": None}, {}),
        ({"epochs": 120}, {}),
        ({"metric": "test acc"}, {}),
        ({"metric": "test acc, best epoch"}, {}),
        ({"metric": "test acc, mean of last 10 epochs"}, {}),
        ({"model": "PreAct ResNet-18"}, {}),
        ({"model": ""}, {}),
        ({"dataset": "CIFAR-100"}, {}),
        ({"method": "ELR+"}, {}),
        ({"method": "CE"}, {}),
        ({}, {"noise": "symmetric:0.4@uniform"}),
        ({}, {"noise": "symmetric:0.6"}),
        ({}, {"loss": "nce+mae"}),
        ({}, {"width": 0.5}),
        ({}, {"validation": 0.1}),
        ({}, {"epochs": 120}),
        ({}, {"model": "cnn8"}),
    ],
)
def test_another_recipe_is_not_compared(theirs, ours, monkeypatch):
    made_up(monkeypatch, **theirs)
    assert compare_methods(study("elr", **ours)) == []


def test_no_number_of_a_method_of_ours_states_its_whole_recipe():
    """The page says so."""
    rows = [row for row in published() if row.method in OURS]
    assert len(rows) > 50
    for row in rows:
        told = {"symmetric": row.source.symmetric, "asymmetric": row.source.asymmetric}.get(
            row.noise_type, ""
        )
        human = row.noise_type in ("clean", "aggre", "rand1", "rand2", "rand3", "worst", "noisy100")
        assert not (row.epoch == "last" and row.epochs and row.model and (told or human)), row
