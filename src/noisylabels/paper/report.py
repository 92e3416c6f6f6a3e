"""Add the paper's parts to a study's report: its claims, figures, numbering and published accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from noisylabels.paper.figures import gaps, normalization, stability, synergy
from noisylabels.paper.observations import OBSERVATIONS
from noisylabels.paper.published_tables import comparison_tables, paper_literature_table
from noisylabels.report.page import Section
from noisylabels.report.theme import Theme
from noisylabels.study.claims import Claim
from noisylabels.study.reporting import Block, figure_blocks, study_sections
from noisylabels.study.results import Results

NUMBERS = {
    "accuracy-symmetric": "Table 1",
    "accuracy-asymmetric": "Table 2",
    "heatmap-symmetric": "Figure 3a",
    "rates-symmetric": "Figure 3b",
    "normalization-symmetric": "Figures 3c, 3d",
    "gap-symmetric": "Figure 4a",
    "stability-symmetric": "Figure 4b",
    "synergy-symmetric": "Figure 5",
    "heatmap-asymmetric": "Figure 6a",
    "rates-asymmetric": "Figure 6b",
    "normalization-asymmetric": "Figures 6c, 6d",
    "gap-asymmetric": "Figure 7a",
    "stability-asymmetric": "Figure 7b",
    "synergy-asymmetric": "Figures 7c to 7f",
    "seconds-symmetric": "Figure 8a",
    "seconds-asymmetric": "Figure 8b",
    "curves-clean": "Figure 10",
    **{f"curves-symmetric-0.{2 * i}": f"Figure {10 + i}" for i in (1, 2, 3, 4)},
    **{f"curves-asymmetric-0.{i}": f"Figure {14 + i}" for i in (1, 2, 3, 4)},
}
"""Name of a table or figure -> its number in the paper."""


def paper_sections(results: Results, theme: Theme, claims: Sequence[Claim] = ()) -> list[Section]:
    """Return the sections of a study's report together with the paper's.

    Args:
        results: of one data set and model.
        theme: the look of the losses.
        claims: the user's own, tested after the paper's.
    """
    found = {section.name: section for section in study_sections(results, theme, [*OBSERVATIONS, *claims])}
    before = figure_blocks(results, theme, gaps, stability)
    found["overfitting"] = replace(
        found["overfitting"],
        title="Overfitting, stability, memorization",
        blocks=[*before, *found["overfitting"].blocks],
    )
    found["tested"] = replace(found["tested"], title="Claims of the paper, tested")
    follow = {
        "overfitting": [
            Section(
                "normalization",
                "What normalization does",
                blocks=figure_blocks(results, theme, normalization),
            ),
            Section("synergy", "Sums and their parts", blocks=figure_blocks(results, theme, synergy)),
        ],
        "tested": [_comparison(results)],
    }
    return [
        replace(section, blocks=[numbered(block) for block in section.blocks])
        for each in found.values()
        for section in (each, *follow.get(each.name, ()))
    ]


def numbered(block: Block) -> Block:
    """Return a table or figure with its number in the paper, if it has one, in the title."""
    number = NUMBERS.get(block.name)
    return replace(block, title=f"{block.title} ({number})") if number else block


def _comparison(results: Results) -> Section:
    tables, reason = comparison_tables(results)
    return Section(
        "published",
        "Comparison with published results",
        [reason] if reason else [],
        [*tables, *([paper_literature_table()] if tables else [])],
    )
