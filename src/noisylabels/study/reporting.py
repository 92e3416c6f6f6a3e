"""Write a report on results: tables, figures and an HTML page, in one folder."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from noisylabels.core.files import make_folder, write_text
from noisylabels.losses.categories import CATEGORIES
from noisylabels.report.diagram import Diagram, draw_diagram
from noisylabels.report.figure_files import SUFFIXES, draw
from noisylabels.report.page import Page, Section, page
from noisylabels.report.panels import Figure
from noisylabels.report.tables import Table, comma_separated, latex, markdown
from noisylabels.report.theme import Theme, import_altair
from noisylabels.study import dynamics, figures, tables
from noisylabels.study.claims import Claim, claims_table, judge, judge_by_machine
from noisylabels.study.looks import loss_theme
from noisylabels.study.plotting import TITLES, loss_family
from noisylabels.study.results import Results
from noisylabels.study.sweeps import learning_rates

Block = Table | Figure | Diagram
FigureKind = Callable[[Results, Theme], Iterable[Figure]]


class Sections(Protocol):
    """A function that returns the sections of a page about one set of results, such as `study_sections`."""

    def __call__(self, results: Results, theme: Theme, claims: Sequence[Claim]) -> Sequence[Section]:
        """Return the sections in reading order; the page omits those without text and blocks."""


def write_report(
    results: Sequence[Results],
    out: Path,
    claims: Sequence[Claim] = (),
    formats: Sequence[str] = SUFFIXES,
    progress: Callable[[int, int], None] = lambda done, total: None,
    sections: Sections | None = None,
    escape_formulas: bool = False,
) -> Path:
    """Write tables/ (Markdown, LaTeX, CSV), figures/ and index.html, and return the page's path.

    Args:
        results: as `read_results` returns them.
        out: folder to write; existing files are overwritten.
        claims: user-defined claims, tested on the results.
        formats: of figure files: ".svg", ".png", ".pdf"; none for the page alone.
        progress: called with the number of figures drawn and the total.
        sections: returns the sections about one set of results (default: `study_sections`).
        escape_formulas: of the tables as CSV, see `comma_separated`.

    Raises:
        InputError: a package for figures is not installed, or a user-defined claim cannot be tested.
    """
    import_altair()
    losses = list(dict.fromkeys(loss for each in results for loss in each.losses))
    theme = loss_theme(losses)
    parts = _distinct_names(
        [
            *learning_rates(results, theme),
            *(
                _prefixed(section, f"{number}-", each.title) if len(results) > 1 else section
                for number, each in enumerate(results, 1)
                for section in (sections or study_sections)(each, theme, claims)
                if section.text or section.blocks
            ),
        ]
    )
    blocks = [block for section in parts for block in section.blocks]
    for table in (block for block in blocks if isinstance(block, Table)):
        texts = {
            ".md": markdown(table),
            ".tex": latex(table),
            ".csv": comma_separated(table, escape_formulas),
        }
        for suffix, text in texts.items():
            write_text(out / "tables" / f"{table.name}{suffix}", text, out)
    drawn = [block for block in blocks if not isinstance(block, Table)]
    for done, block in enumerate(drawn if formats else [], 1):
        folder = make_folder(out / "figures", out)
        if isinstance(block, Figure):
            draw(block, folder, formats)
        else:
            draw_diagram(block, folder, formats)
        progress(done, len(drawn))
    path = out / "index.html"
    write_text(path, page(_page(results, theme, parts)))
    return path


def _prefixed(section: Section, prefix: str, title: str) -> Section:
    """Return a section whose title and names identify one of several sets of results."""
    blocks = [replace(block, name=prefix + block.name) for block in section.blocks]
    return replace(section, name=prefix + section.name, title=f"{title}: {section.title}", blocks=blocks)


def _distinct_names(sections: Sequence[Section]) -> list[Section]:
    """Return sections with distinct block names, which name files: two noises may share a label."""
    seen: dict[str, int] = {}
    made = []
    for section in sections:
        blocks: list[Block] = []
        for block in section.blocks:
            count = seen[block.name] = seen.get(block.name, 0) + 1
            blocks.append(block if count == 1 else replace(block, name=f"{block.name}-{count}"))
        made.append(replace(section, blocks=blocks))
    return made


def _page(results: Sequence[Results], theme: Theme, sections: Sequence[Section]) -> Page:
    losses = theme.names
    kinds = {kind: [loss for loss in losses if loss_family(loss).category == kind] for kind in CATEGORIES}
    runs = [run for each in results for run in each.runs]
    done = sum(len(each.done) for each in results)
    noises = list(dict.fromkeys(noise for each in results for noise in each.noises))
    seeds = sorted({run.seed for run in runs})
    facts = {
        "Runs": f"{done} done" + (f", {len(runs) - done} failed" if done < len(runs) else ""),
        "Losses, noises, seeds": f"{len(losses)}, {len(noises)}, {len(seeds)}",
        "Machine": "; ".join(sorted({run.machine for run in runs if run.machine})) or "unknown",
        "Software": "; ".join(sorted({run.software for run in runs if run.software})) or "unknown",
    }
    titles = [each.title for each in results]
    return Page(
        titles[0] if len(titles) == 1 else f"{len(titles)} sets of runs: " + "; ".join(titles),
        facts,
        theme,
        sections,
        {TITLES[kind]: group for kind, group in kinds.items() if group},
    )


def figure_blocks(results: Results, theme: Theme, *kinds: FigureKind) -> list[Block]:
    """Return the figures of several kinds in one list."""
    return list(itertools.chain.from_iterable(kind(results, theme) for kind in kinds))


def study_sections(results: Results, theme: Theme, claims: Sequence[Claim] = ()) -> list[Section]:
    """Return the sections of a study's report in reading order; a section without results is empty."""

    def drawn(*kinds: FigureKind) -> list[Block]:
        return figure_blocks(results, theme, *kinds)

    failed = tables.failures(results)
    tested = []
    if claims:
        tested = [claims_table(judge(claims, results), by_machine=judge_by_machine(claims, results))]
    recorded = drawn(*dynamics.FIGURES)
    return [
        Section(
            "accuracy",
            "Accuracy",
            ["Accuracies are measured on the clean test set at the last epoch. No choice uses test data."],
            [*tables.accuracies(results), *drawn(figures.heatmaps, figures.against_rate)],
        ),
        Section(
            "overfitting",
            "Memorization and epoch selection",
            blocks=drawn(figures.memorization, figures.chosen),
        ),
        Section("classes", "Per-class accuracy", blocks=drawn(figures.per_class)),
        Section(
            "spread",
            "Variation across seeds, paired differences, ranks",
            blocks=[*drawn(figures.spread), *tables.differences(results), *drawn(figures.ranks)],
        ),
        Section("tested", "Tests of claims", blocks=tested),  # the id "claims" is that of its table
        Section(
            "dynamics",
            "Dynamics",
            ["Gradients and predictions during training, recorded by --record dynamics."] * bool(recorded),
            recorded,
        ),
        Section("time", "Training time", blocks=drawn(figures.seconds)),
        Section("curves", "Learning curves", blocks=drawn(figures.learning_curves)),
        Section(
            "details",
            "All measures, settings, failed runs",
            blocks=[*tables.details(results), tables.settings(results), *([failed] if failed else [])],
        ),
    ]
