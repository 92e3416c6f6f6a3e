"""Add the paper's claims, figures, numbering and published accuracies to a study's report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from noisylabels.paper.diagrams import diagrams
from noisylabels.paper.figures import gaps, normalization, stability, synergy
from noisylabels.paper.observations import OBSERVATIONS
from noisylabels.paper.published_tables import comparison_tables, paper_literature_table
from noisylabels.report.page import Section
from noisylabels.report.theme import Theme
from noisylabels.study.claims import Claim
from noisylabels.study.reporting import Block, figure_blocks, study_sections
from noisylabels.study.results import Results

NUMBERS = {
    "eq1-normalization": "Figure 1",
    "eq2-active-passive": "Figure 2",
    "network": "Figure 9",
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


def paper_sections(
    results: Results, theme: Theme, claims: Sequence[Claim] = (), captions: bool = False
) -> list[Section]:
    """Return the sections of a study's report, extended by those of the paper.

    Args:
        results: of one data set and model.
        theme: colors and line styles of the losses.
        claims: user-defined claims, tested after the paper's.
        captions: name the paper's table or figure in each title, and add the paper's diagrams.
    """
    found = {section.name: section for section in study_sections(results, theme, [*OBSERVATIONS, *claims])}
    before = figure_blocks(results, theme, gaps, stability)
    found["overfitting"] = replace(
        found["overfitting"],
        title="Overfitting, stability, memorization, epoch selection",
        blocks=[*before, *found["overfitting"].blocks],
    )
    found["tested"] = replace(found["tested"], title="Tests of the paper's claims")
    follow = {
        "overfitting": [
            Section(
                "normalization",
                "Effect of normalization",
                blocks=figure_blocks(results, theme, normalization),
            ),
            Section(
                "synergy",
                "Combined losses and their components",
                blocks=figure_blocks(results, theme, synergy),
            ),
        ],
        "tested": [_comparison(results)],
    }
    if captions:
        found = {"definitions": Section("definitions", "The paper's definitions", blocks=diagrams())} | found
    return [
        replace(section, blocks=[numbered(block) if captions else block for block in section.blocks])
        for each in found.values()
        for section in (each, *follow.get(each.name, ()))
    ]


def numbered(block: Block) -> Block:
    """Return a table or figure with its number in the paper, if any, added to the title."""
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
