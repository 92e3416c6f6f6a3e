"""The paper's parts of a report: its figures, numbers, claims and comparison, at their places on the page."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import replace

import pytest

import noisylabels
from noisylabels.cli import main
from noisylabels.losses import PAPER
from noisylabels.losses.user_loss import spelled
from noisylabels.noise import MAPS
from noisylabels.paper import figures as paper_figures
from noisylabels.paper.observations import OBSERVATIONS
from noisylabels.paper.report import numbered, paper_sections
from noisylabels.report.panels import Figure
from noisylabels.report.tables import Table
from noisylabels.study.claims import Claim, less
from noisylabels.study.looks import loss_theme
from noisylabels.study.reporting import study_sections, write_report
from noisylabels.study.results import Results, gap, split

NOISES = ["none", "symmetric:0.2", "symmetric:0.4", "asymmetric:0.2", "asymmetric:0.4", "longtail:0.1"]
OWN = Claim("mine", "own", "A sentence.", [less(gap, "ce", "fl", "symmetric:0.4")])


@pytest.fixture(scope="module")
def made_up(made_run):
    """Every loss of the paper under noises of every family, two seeds each, with validation."""
    (results,) = split(
        [made_run(loss, noise, seed, validation=0.1) for loss in PAPER for noise in NOISES for seed in (1, 2)]
    )
    return results


@pytest.fixture(scope="module")
def sections(made_up):
    return {
        section.name: section
        for section in paper_sections(made_up, loss_theme(made_up.losses), [OWN], captions=True)
    }


@pytest.fixture(scope="module")
def figures(sections):
    blocks = [block for section in sections.values() for block in section.blocks]
    return [block for block in blocks if isinstance(block, Figure)]


def test_the_papers_sections_stand_among_the_studys(sections):
    assert {name: section.title for name, section in sections.items()} == {
        "definitions": "The paper's definitions",
        "accuracy": "Accuracy",
        "overfitting": "Overfitting, stability, memorization, epoch selection",
        "normalization": "Effect of normalization",
        "synergy": "Combined losses and their components",
        "classes": "Per-class accuracy",
        "spread": "Variation across seeds, paired differences, ranks",
        "tested": "Tests of the paper's claims",
        "published": "Comparison with published results",
        "dynamics": "Dynamics",
        "time": "Training time",
        "curves": "Learning curves",
        "details": "All measures, settings, failed runs",
    }
    kinds = [block.name.partition("-")[0] for block in sections["overfitting"].blocks]
    assert list(dict.fromkeys(kinds)) == ["gap", "stability", "memorized", "chosen"]


def test_nothing_of_a_studys_report_is_lost(sections, made_up):
    """What any study's report has is in the paper's too, but for the numbers in titles."""
    visited = 0
    for section in study_sections(made_up, loss_theme(made_up.losses)):
        titles = {block.name: block.title for block in sections[section.name].blocks}
        for block in section.blocks:
            assert titles[block.name] == numbered(block).title
            visited += 1
    assert visited > 30


def test_the_numbers_of_the_paper(figures, sections):
    titles = {figure.name: figure.title for figure in figures}
    assert {found for title in titles.values() for found in re.findall(r"\(Figure (\w+)\)", title)} == {
        *("3a", "3b", "4a", "4b", "5", "6a", "6b", "7a", "7b", "8a", "8b", "10", "11", "12", "16", "18")
    }
    assert titles["normalization-symmetric"].endswith(" (Figures 3c, 3d)")
    assert titles["synergy-asymmetric"].endswith(" (Figures 7c to 7f)")
    assert titles["curves-asymmetric-0.4"] == "Learning curves, asymmetric:0.4 (Figure 18)"
    tables = [block.title for block in sections["accuracy"].blocks if isinstance(block, Table)]
    assert [re.findall(r"\((.*)\)", title) for title in tables] == [["Table 1"], ["Table 2"], []]


def test_without_its_captions_no_title_names_the_paper(made_up):
    found = paper_sections(made_up, loss_theme(made_up.losses))
    titles = [block.title for section in found for block in section.blocks]
    assert len(titles) > 30
    assert "definitions" not in [section.name for section in found]
    assert not [title for title in titles if "(Table" in title or "(Figure" in title]


def test_synergy_codes_the_terms_as_the_paper_does(figures):
    found = [figure for figure in figures if figure.name.startswith("synergy")]
    assert [figure.name for figure in found] == ["synergy-symmetric", "synergy-asymmetric"]
    for figure in found:
        assert [panel.title for panel in figure.panels] == ["nce+mae", "nce+rce", "nfl+mae", "nfl+rce"]
        for panel in figure.panels:
            active, _, passive = panel.title.partition("+")
            roles = {(row["loss"], row["role"]) for row in panel.rows}
            assert roles == {
                (active, "active term"),
                (passive, "passive term"),
                (panel.title, "their sum"),
            }
            assert panel.losses == ("active term", "passive term", "their sum")
            shapes = [panel.theme.shape(name) for name in panel.losses]
            assert shapes == ["square", "triangle-up", "diamond"]
        spec = json.dumps(figure.spec())
        assert spec.count(json.dumps([{"name": name} for name in panel.losses])) == 1  # one legend
        domains = re.findall(r'"field": "y", "scale": \{"domain": (\[[^]]+\])', spec)
        assert len(set(domains)) == 1  # panels that can be compared


def test_sums_of_other_kinds_are_not_synergy(made_run):
    names = ["ce", "nce", "nnce", "nce+nnce", "ce+nce", "2*nce+nnce"]
    runs = [made_run(loss, noise, 1) for loss in names for noise in ("none", "symmetric:0.4")]
    (figure,) = paper_figures.synergy(Results(runs), loss_theme(names))
    assert [panel.title for panel in figure.panels] == ["nce+nnce", "2*nce+nnce: nce, nnce"]


def test_the_papers_figures_tell_n(made_up):
    kinds = [
        function
        for function in vars(paper_figures).values()
        if inspect.isfunction(function)
        and function.__module__ == paper_figures.__name__
        and list(inspect.signature(function).parameters) == ["results", "theme"]
    ]
    assert len(kinds) == 4
    for kind in kinds:
        drawn = list(kind(made_up, loss_theme(made_up.losses)))
        assert {figure.name.partition("-")[2] for figure in drawn} >= {"symmetric", "asymmetric"}
        for figure in drawn:
            assert re.search(r"n = 2\b", figure.caption), figure.name
            assert figure.caption.endswith(".")
            assert "Figure" not in figure.title
            assert figure.panels


def test_the_papers_claims_come_before_the_users(sections):
    (table,) = sections["tested"].blocks
    names = [row[0].partition(":")[0] for row in table.rows]
    assert table.name == "claims"
    assert set(names) == {"mine", *(claim.name for claim in OBSERVATIONS)}
    measured = [row[0].partition(":")[0] for row in table.rows if row[1] != "not measured"]
    assert measured[-1] == "mine"


def test_without_published_results_a_sentence_says_so(sections, made_up):
    assert sections["published"].blocks == []
    assert (
        sections["published"]
        .text[0]
        .startswith("No published results to compare with: the data set digits is none of")
    )


def test_code_that_compared_runs_name_is_not_run(made_run, tmp_path, monkeypatch):
    """Nor where there are published accuracies to compare with: CIFAR-10 and the paper's network."""
    marker = tmp_path / "was-run"
    text = f"from pathlib import Path\nPath({str(marker)!r}).touch()\ndef f(l): return -l\n"
    (tmp_path / "mine.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    spec = spelled("mine.py:f")
    losses = [spec, f"normalize({spec})", f"nce+{spec}", f"logit_clip({spec})", "ce", "nce"]
    settings = {"model": "cnn8", "data": "cifar10", "class_names": tuple(MAPS["cifar10"].class_names)}
    runs = [
        made_run(loss, noise, seed, **settings)
        for loss in losses
        for noise in ("none", "symmetric:0.4")
        for seed in (1, 2)
    ]
    write_report([Results(runs)], tmp_path / "report", formats=(), sections=paper_sections)
    assert not marker.exists()
    names = {path.stem for path in (tmp_path / "report" / "tables").glob("comparison-*.csv")}
    assert names == {"comparison-paper-symmetric", "comparison-literature", "comparison-paper-literature"}
    noisylabels.loss(losses[0])
    assert marker.exists()  # it would have been seen


def test_a_block_without_a_number_keeps_its_title(figures):
    figure = replace(figures[0], name="ranks", title="Ranks")
    assert numbered(figure) is figure


def test_the_command_has_the_papers_captions_only_when_asked(small_study, tmp_path, capsys):
    words = ["report", str(small_study), "--formats"]
    assert main([*words, "--out", str(tmp_path / "plain")]) == 0
    plain = (tmp_path / "plain" / "index.html").read_text(encoding="utf-8")
    assert main([*words, "--paper-captions", "--out", str(tmp_path / "paper")]) == 0
    paper = (tmp_path / "paper" / "index.html").read_text(encoding="utf-8")
    for text in ("(Table 1)", "(Figure 3b)", "(Figure 9)", "1,639,794 in all"):
        assert (text in plain, text in paper) == (False, True), text
    # one id per element, and no style of a file in the page
    ids = re.findall(r'<(?:section|figure|svg)[^>]* id="([^"]+)"', paper)
    assert len(ids) == len(set(ids))
    assert "svg:root" not in paper
