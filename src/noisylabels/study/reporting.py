"""A report: every table, every figure and the page of some results, written into one folder."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from noisylabels.core.files import write_text
from noisylabels.losses.categories import CATEGORIES
from noisylabels.report.figure_files import SUFFIXES, draw
from noisylabels.report.page import Page, Section, page
from noisylabels.report.panels import Figure
from noisylabels.report.tables import Table, comma_separated, latex, markdown
from noisylabels.report.theme import Theme, import_altair
from noisylabels.study import more_figures, paper_figures, result_tables
from noisylabels.study.beside_tables import paper_table, tables_beside
from noisylabels.study.claims import Claim, claims_table, judge
from noisylabels.study.observations import OBSERVATIONS
from noisylabels.study.plotting import TITLES, loss_family
from noisylabels.study.results import Results

Block = Table | Figure


def write_report(
    results: Sequence[Results],
    out: Path,
    claims: Sequence[Claim] = (),
    formats: Sequence[str] = SUFFIXES,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write tables/ (Markdown, LaTeX, CSV), figures/ and index.html, and return the page's path.

    Args:
        results: as `read_results` gives them.
        out: the folder; what is there is written over.
        claims: the user's own, tested beside the paper's.
        formats: of figure files: ".svg", ".png", ".pdf"; none for the page alone.
        progress: told of the figures drawn and of how many there are.

    Raises:
        InputError: a package for figures is not installed, or a claim of the user's cannot be tested.
    """
    import_altair()
    losses = list(dict.fromkeys(loss for each in results for loss in each.losses))
    theme = Theme(losses)
    sections = [
        section
        for number, each in enumerate(results, 1)
        for section in _sections(each, theme, claims, f"{number}-" if len(results) > 1 else "")
    ]
    sections = _apart(sections)
    blocks = [block for section in sections for block in section.blocks]
    for table in (block for block in blocks if isinstance(block, Table)):
        for suffix, form in ((".md", markdown), (".tex", latex), (".csv", comma_separated)):
            write_text(out / "tables" / f"{table.name}{suffix}", form(table))
    figures = [block for block in blocks if isinstance(block, Figure)]
    for done, figure in enumerate(figures if formats else [], 1):
        draw(figure, out / "figures", formats)
        progress(done, len(figures))
    path = out / "index.html"
    write_text(path, page(_page(results, losses, sections)))
    return path


def _apart(sections: Sequence[Section]) -> list[Section]:
    """Return sections whose blocks have names of their own, for their files: noises may be spelled alike."""
    seen: dict[str, int] = {}
    made = []
    for section in sections:
        blocks: list[Block] = []
        for block in section.blocks:
            count = seen[block.name] = seen.get(block.name, 0) + 1
            blocks.append(block if count == 1 else replace(block, name=f"{block.name}-{count}"))
        made.append(replace(section, blocks=blocks))
    return made


def _page(results: Sequence[Results], losses: Sequence[str], sections: Sequence[Section]) -> Page:
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
        losses,
        sections,
        {TITLES[kind]: group for kind, group in kinds.items() if group},
    )


def _sections(results: Results, theme: Theme, claims: Sequence[Claim], prefix: str) -> Iterator[Section]:
    """Yield the parts of the page that are about some results; names get a prefix."""

    def figures(*kinds: Callable[[Results, Theme], Iterable[Figure]]) -> list[Block]:
        # the noises of a kind beside each other
        return list(itertools.chain.from_iterable(kind(results, theme) for kind in kinds))

    paper, more = paper_figures, more_figures
    beside, nothing = tables_beside(results)
    findings = judge([*OBSERVATIONS, *claims], results)
    failed = result_tables.failures(results)
    parts: list[tuple[str, str, list[str], list[Block]]] = [
        (
            "accuracy",
            "Accuracy",
            ["The test set is clean and selects nothing: every number is of the last epoch."],
            [*result_tables.accuracies(results), *figures(paper.heatmaps, paper.against_rate)],
        ),
        (
            "overfitting",
            "Overfitting, stability, memorization",
            [],
            figures(paper.gaps, paper.stability, more.memorization, more.chosen),
        ),
        ("normalization", "What normalization does", [], figures(paper.normalization)),
        ("synergy", "Sums and their parts", [], figures(paper.synergy)),
        ("classes", "Classes", [], figures(more.per_class)),
        (
            "spread",
            "Spread, differences, ranks",
            [],
            [*figures(more.spread), *result_tables.differences(results), *figures(more.ranks)],
        ),
        (
            "tested",  # its table is called claims
            "What the paper says, tested",
            [],
            [claims_table(findings)],
        ),
        (
            "published",
            "Beside the published numbers",
            [nothing] if nothing else [],
            [*beside, *([paper_table()] if beside else [])],
        ),
        ("time", "Training time", [], figures(paper.seconds)),
        ("curves", "Learning curves", [], figures(paper.learning_curves)),
        (
            "details",
            "All measures, settings, failures",
            [],
            [*result_tables.details(results), result_tables.settings(results), *([failed] if failed else [])],
        ),
    ]
    for name, title, text, blocks in parts:
        if text or blocks:
            yield Section(
                prefix + name,
                f"{results.title}: {title}" if prefix else title,
                text,
                [replace(block, name=prefix + block.name) for block in blocks],
            )
