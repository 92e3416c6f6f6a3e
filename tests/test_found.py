"""The pages on what was found agree with the runs in results/ and published numbers."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from noisylabels.report.tables import markdown
from noisylabels.study.grid import load_study
from noisylabels.study.store import read_rows

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import found  # noqa: E402
from found_figures import figures  # noqa: E402
from found_runs import Runs, weights, words  # noqa: E402


@pytest.fixture(scope="module")
def runs() -> Runs:
    return Runs(ROOT / "results")


def test_every_table_of_the_document_is_made_of_the_runs(runs):
    document = (ROOT / "docs" / "measured-found.md").read_text(encoding="utf-8")
    assert found.renewed(document, runs) == document
    names = [name for name, _ in found.texts(runs)]
    assert len(names) == len(set(names)) == document.count("<!-- /")
    changed = document.replace("55.30", "55.31", 1)
    assert changed != document
    assert found.renewed(changed, runs) == document
    with pytest.raises(SystemExit, match="has no place for column"):
        found.renewed("nothing", runs)


def test_the_decisions_are_made_of_the_runs(runs):
    article = (ROOT / "docs" / "found.md").read_text(encoding="utf-8")
    assert found.decided_upon(article, runs) == article
    rows = [line for line in article.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 13
    for row in rows:
        assert re.search(r"\d", row.split("|")[3]), "no figure"
        assert re.search(r"\(n = \d+\)|settings", row)


def test_the_page_of_photographs_has_the_column_of_the_paper(runs):
    document = (ROOT / "docs" / "measured-photographs.md").read_text(encoding="utf-8")
    assert found.renewed(document, runs, only="column") == document
    assert markdown(found.column(runs.paper)) in document


def test_the_figures_are_those_of_the_runs(runs):
    folder = ROOT / "results" / "found"
    assert found.digests(runs) == json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    document = (ROOT / "docs" / "measured-found.md").read_text(encoding="utf-8")
    for figure in figures(runs):
        assert (folder / f"{figure.name}.svg").exists()
        assert f"results/found/{figure.name}.svg" in document
        assert all(panel.rows for panel in figure.panels)


def test_the_papers_column_is_that_of_its_runs(runs):
    rows = {row["config"]["loss"]: row for row in read_rows(ROOT / "results" / "paper" / "runs.parquet")}
    table = found.column(runs.paper)
    assert {row[0] for row in table.rows if row[1] is not None} == rows.keys()
    for loss, ours, *_, heart, _ in table.rows:
        if loss not in rows:
            continue
        assert ours.mean == pytest.approx(100 * rows[loss]["final"]["test_accuracy"])
        assert heart.mean == pytest.approx(100 * rows[loss]["final"]["memorized"])
        assert len(rows[loss]["history"]) == 120


def test_the_time_of_an_epoch_is_that_of_the_runs_in_half_precision(runs):
    slow = {name: 10 * curve for name, curve in runs.paper.done[0].curves.items()}
    other = {**runs.paper.done[0].config, "noise": "asymmetric:0.4", "precision": "float32"}
    added = [replace(run, config=other, curves=slow) for run in runs.paper.done]
    assert found.seconds(replace(runs.paper, runs=[*runs.paper.runs, *added])) == found.seconds(runs.paper)


def test_nmae_and_nrce_are_one_function_in_every_epoch(runs):
    pairs = 0
    for results in (runs.paper, runs.tenth, runs.digits):
        for noise in results.noises:
            for one, other in zip(results.cell("nmae", noise), results.cell("nrce", noise), strict=True):
                assert one.curves["test_accuracy"].tolist() == other.curves["test_accuracy"].tolist()
                pairs += 1
    assert pairs >= 1 + 4 * 2 + 4 * 2


def test_the_spread_of_twin_rows_is_found():
    draws = np.random.default_rng(5).normal(0, 2.5, (400, 9, 2))
    estimates = [found.pooled((pairs[:, 0] - pairs[:, 1]).tolist()) for pairs in draws]
    assert np.sqrt(np.mean([s**2 for s, _, _ in estimates])) == pytest.approx(2.5, rel=0.05)
    held = np.mean([low < 2.5 < high for _, low, high in estimates])
    assert 0.92 < held < 0.98
    differences = found.twins()
    assert len(differences) == 9
    assert max(map(abs, differences)) == pytest.approx(54.27 - 42.75)


def test_weights_and_words():
    class Made:
        losses = ("ce", "nce", "nce+0.5*mae", "10*nce+mae", "mae", "nce+rce")

    assert weights(Made()) == [
        (0.0, 1.0, "mae"),
        (1.0, 0.0, "nce"),
        (1.0, 0.5, "nce+0.5*mae"),
        (10.0, 1.0, "10*nce+mae"),
    ]
    assert words("none") == "clean"
    assert words("symmetric:0.4") == "symmetric 0.4"


@pytest.mark.parametrize(
    ("name", "study", "data"),
    [
        ("paper", "paper", "cifar10-jpeg"),
        ("tenth", "tenth", "cifar10-jpeg"),
        ("longer-tenth", "benchmarks/studies/longer-tenth.toml", "cifar10-jpeg"),
        ("forms-tenth", "benchmarks/studies/forms-tenth.toml", "cifar10-jpeg"),
        ("knob", "benchmarks/studies/knob.toml", "digits"),
        ("digits-study", "digits", "digits"),
        ("digits-more", "benchmarks/studies/digits-more.toml", "digits"),
        ("digits-8", "benchmarks/studies/digits-8.toml", "digits"),
    ],
)
def test_the_studies_go_on_from_the_runs(name, study, data):
    """What `study run --from` takes a run for is its id, which its study must still give."""
    source = str(ROOT / study) if study.endswith(".toml") else study
    cells = {cell.run_id for cell in load_study(source).cells({"data": data}, labels="cifar10n.parquet")}
    runs = {row["run_id"] for row in read_rows(ROOT / "results" / name / "runs.parquet")}
    assert runs
    assert runs <= cells
