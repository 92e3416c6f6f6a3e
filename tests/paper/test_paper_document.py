"""The pages on the paper agree with the code: files of figures and tables, claims, numbers of the paper."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from noisylabels.core.config import to_dict
from noisylabels.losses import PAPER
from noisylabels.noise import MAPS
from noisylabels.paper.observations import OBSERVATIONS
from noisylabels.paper.published import published
from noisylabels.paper.published_tables import comparison_tables, paper_literature_table
from noisylabels.paper.report import NUMBERS, paper_sections
from noisylabels.report.diagram import Diagram
from noisylabels.report.panels import Figure
from noisylabels.study import tables
from noisylabels.study.grid import load_study
from noisylabels.study.looks import loss_theme
from noisylabels.study.results import Results, Run

DOCS = Path(__file__).parents[2] / "docs"
PAGE = "\n".join(
    (DOCS / name).read_text(encoding="utf-8") for name in ("paper.md", "paper-sections.md", "paper-claims.md")
)


def section(heading: str) -> str:
    """Return what stands under a heading, whatever its level, up to the next of any."""
    return re.split(r"\n##+ ", PAGE.split(f"# {heading}\n", 1)[1])[0]


@pytest.fixture(scope="module")
def results() -> Results:
    """The paper's study: each of its cells with a history of two epochs."""
    epochs = {name: np.array([0.1, 0.2]) for name in ("test_accuracy", "given_accuracy", "train_seconds")}
    runs = [
        Run(
            cell.config.loss + cell.config.noise + str(cell.config.seed),
            "done",
            "",
            to_dict(cell.config),
            epochs | {"epoch": np.array([1.0, 2.0])},
            recall=np.full((2, 10), 0.5),
            class_names=MAPS["cifar10"].class_names,
        )
        for cell in load_study("paper").cells()
    ]
    assert len(runs) == 324
    return Results(runs)


def rows(heading: str) -> list[list[str]]:
    """Return the cells of a section's table, without its head."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def files(cell: str) -> list[str]:
    """Return the names of files in a cell, "-0.4" being the last with another end."""
    found: list[str] = []
    for word in re.findall(r"`([^`]+)`", cell):
        found.append(found[-1].rpartition("-")[0] + word if word.startswith("-") else word)
    return found


def test_every_figure_of_the_paper_is_listed_with_its_file(results: Results) -> None:
    blocks = [
        block
        for part in paper_sections(results, loss_theme(results.losses), captions=True)
        for block in part.blocks
    ]
    found: dict[str, str] = {}
    for figure in (block for block in blocks if isinstance(block, Figure | Diagram)):
        if numbers := re.search(r"\(Figures? ([^)]+)\)$", figure.title):
            found[numbers[1]] = f"figures/{figure.name}"
    assert len(found) == 14 + 9 + 3
    assert {block.name for block in blocks} >= NUMBERS.keys()
    listed: dict[str, str] = {}
    for number, cell, _ in rows("Tables and figures"):
        if "figures/" in cell:
            # "Figure 3c and 3d, 6c and 6d" and "Figure 5; 7c to 7f" are two figures, one of each noise
            numbers = re.sub(r"^Figure | \(A\.\d\)$", "", number).replace("; ", ", ").split(", ")
            spelled = [text.replace(" and ", ", ") for text in numbers]
            listed |= dict(zip(spelled, files(cell), strict=True))
    assert listed == found


def test_every_table_is_listed_with_its_file(results: Results) -> None:
    accuracy = [table.name for table in tables.accuracies(results)]
    comparisons, reason = comparison_tables(results)
    assert reason == ""
    listed = {name: files(cell) for name, cell, _ in rows("Tables and figures")}
    assert listed["Table 1"] + listed["Table 2"] == [f"tables/{name}" for name in accuracy]
    to_the_paper = [f"tables/{table.name}" for table in comparisons if "paper" in table.name]
    assert listed["Comparison with Tables 1 and 2"] == to_the_paper
    text = section("Tables and figures")
    for table in [*comparisons, paper_literature_table()]:
        assert table.name in text


def test_every_claim_is_listed() -> None:
    listed = [name for _, cell in rows("4.2 to 4.5: what it observes") for name in files(cell)]
    assert set(listed) == {claim.name for claim in OBSERVATIONS}
    assert sum(claim.section == "4.4" for claim in OBSERVATIONS) == 12  # "twelve claims"


def table_of_the_paper() -> dict[tuple[str, float], dict[str, float]]:
    found: dict[tuple[str, float], dict[str, float]] = {}
    for row in published(collection="paper"):
        found.setdefault((row.noise_type, row.rate), {})[row.method.lower()] = row.mean
    return found


TABLE = table_of_the_paper()
CLEAN = TABLE["clean", 0.0]
SYMMETRIC = [TABLE["symmetric", rate] for rate in (0.2, 0.4, 0.6, 0.8)]
ASYMMETRIC = [TABLE["asymmetric", rate] for rate in (0.1, 0.2, 0.3, 0.4)]


def place(column: dict[str, float], loss: str) -> int:
    return 1 + sum(value > column[loss] for value in column.values())


def test_every_number_of_the_paper_is_one_of_its_tables() -> None:
    printed = {f"{value:.2f}" for column in TABLE.values() for value in column.values()}
    for heading in ("Where its sentences and its tables disagree", "3.4 Eq. 1, normalization; Figure 1; A.3"):
        numbers = re.findall(r"\b\d\d\.\d\d\b", section(heading))
        assert len(numbers) >= 2
        assert set(numbers) <= printed


def test_where_sentences_and_tables_disagree() -> None:
    """What the page says of the paper's tables, row by row."""
    first, second, _, fourth = SYMMETRIC
    below_ce = [column["ce"] - column["nfl+rce"] for column in ASYMMETRIC]
    below_nfl = [column["nfl"] - column["nfl+rce"] for column in ASYMMETRIC]
    assert (round(min(below_ce)), round(max(below_ce))) == (22, 30)
    assert (round(min(below_nfl)), round(max(below_nfl))) == (15, 28)
    best = [sorted(column, key=column.__getitem__)[:-3:-1] for column in ASYMMETRIC]
    assert best == [["nce+mae", "ce"]] * 2 + [["nce+mae", "nce+rce"]] * 2
    assert place(CLEAN, "fl") == 5
    assert CLEAN["ce"] - CLEAN["fl"] == pytest.approx(9.3, abs=0.05)
    assert [column["nce"] > column["ce"] for column in SYMMETRIC] == [False, True, True, True]
    assert all(column["nce"] < column["ce"] for column in ASYMMETRIC)
    rce = [column["nrce"] - column["rce"] for column in (CLEAN, *SYMMETRIC)]
    assert (round(min(rce), 1), round(max(rce), 1)) == (1.3, 22.3)
    mae = [column["nmae"] > column["mae"] for column in (CLEAN, *SYMMETRIC)]
    assert mae == [True, True, False, False, True]
    assert [place(column, "nfl+rce") for column in SYMMETRIC[2:]] == [2, 3]
    assert [place(column, "nce+rce") for column in SYMMETRIC[2:]] == [4, 2]
    assert all(column["nfl"] > max(column["nfl+mae"], column["nfl+rce"]) for column in ASYMMETRIC)
    assert all(min(column["nce"], column["nfl"]) > max(column["mae"], column["rce"]) for column in ASYMMETRIC)
    assert [place(column, "nfl+mae") for column in (CLEAN, *SYMMETRIC[:3])] == [12, 12, 1, 8]
    above = {
        loss: [column[loss] > max(column[part] for part in loss.split("+")) for column in TABLE.values()]
        for loss in PAPER
        if "+" in loss
    }
    assert {loss: sum(each) for loss, each in above.items()} == {
        "nce+mae": 9,
        "nce+rce": 9,
        "nfl+mae": 2,
        "nfl+rce": 5,
    }
    assert all(column["nfl+rce"] > max(column["nfl"], column["rce"]) for column in (CLEAN, *SYMMETRIC))
    over_apl = [column["ce"] > column["nce+rce"] for column in (CLEAN, *ASYMMETRIC)]
    assert over_apl == [True, True, True, False, False]
    apart = max(abs(column["nmae"] - column["nrce"]) for column in TABLE.values())
    assert apart == pytest.approx(11.5, abs=0.05)
    assert first["mae"] > CLEAN["mae"]
    assert second["nfl+mae"] > CLEAN["nfl+mae"]
    a, eta, K = fourth["nce+mae"] / 100, 0.8, 10
    agrees = (1 - eta) * a + eta * (1 - a) / (K - 1)
    assert (round(100 * agrees, 1), round(100 * (agrees - a))) == (14.4, -35)


def test_the_arithmetic_of_times() -> None:
    whole = {cell.config.noise for cell in load_study("paper").cells() if "asymmetric" in cell.config.noise}
    runs = len(load_study("paper").cells())
    asymmetric = 12 * 3 * len(whole)
    hours = 120 * (5.89 * (runs - asymmetric) + 8.64 * asymmetric) / 3600
    assert round(hours) == 77
    assert round((4 * 5.8 + 8.64) / 5, 1) == 6.4
