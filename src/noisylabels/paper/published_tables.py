"""Tables that compare a study, or the paper itself, with published accuracies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from noisylabels.paper.compare_published import (
    PublishedComparison,
    compare_paper_with_literature,
    compare_published,
    explain_no_comparison,
)
from noisylabels.paper.published import Source
from noisylabels.paper.published_methods import comparable_methods
from noisylabels.report.tables import Cell, Number, Table
from noisylabels.study.families import CLEAN, Family, noise_label
from noisylabels.study.results import Results, accuracy

_HOW = (
    "Test accuracy (%) at the last epoch, mean ± sample standard deviation. The 95 % confidence interval of "
    "the difference is Welch's where both sides report a standard deviation and a number of runs. Where only "
    "one does, the other is assumed to have the same standard deviation; an accuracy without a number of "
    "runs counts as one run. Not significant: the interval contains 0."
)


def comparison_tables(results: Results) -> tuple[list[Table], str]:
    """Return tables that compare results with the paper and the literature, or the reason why none can.

    Methods are compared only with accuracies of the same recipe, see `published_methods`.

    Args:
        results: of one data set and model.

    Returns:
        The tables (one per noise family for the paper, then one for the literature, then one for methods) and
        an empty text; or no table and a sentence with the reason.
    """
    others = (literature_table(results), comparable_methods(results))
    made = [*paper_tables(results), *(table for table in others if table)]
    return made, "" if made else explain_no_comparison(results)


def paper_tables(results: Results) -> list[Table]:
    """Return one table per noise family: our accuracy, the paper's, the difference and its interval.

    Args:
        results: the runs of a study, of `read_results`.
    """
    pairs = compare_published(results, "paper")
    made, shown = [], set()
    for family in results.families:
        # clean data belong to every family but are compared once
        noises = [noise for noise in family.noises if noise not in shown]
        shown |= {CLEAN}
        there = [pair for pair in pairs if pair.noise in noises]
        if there:
            made.append(_paper_table(results, family, noises, there))
    return made


def _paper_table(
    results: Results, family: Family, noises: Sequence[str], pairs: list[PublishedComparison]
) -> Table:
    have = {(pair.loss, pair.noise) for pair in pairs}
    lacking = [
        f"{loss} under {noise_label(noise)}"
        for loss in results.losses
        for noise in noises
        if (loss, noise) not in have and results.summary(accuracy, loss, noise)
    ]
    differences, common = _differences(pairs)
    rows = [
        (pair.loss, noise_label(pair.noise), *_numbers(pair), "; ".join(differ))
        for pair, differ in zip(pairs, differences, strict=True)
    ]
    notes = [_HOW, _in_all(common), _not_stated(pairs, "the paper")]
    if lacking:
        notes.append(f"Not in the paper: {', '.join(lacking)}.")
    slug = "".join(c if c.isalnum() else "-" for c in family.key).strip("-")
    return Table(
        f"comparison-paper-{slug}",
        f"{family.title}: ours on {results.data} versus the paper on CIFAR-10",
        ("loss", "noise", "ours", "paper", "difference", "95 % CI", "verdict", "settings that differ"),
        rows,
        " ".join(filter(None, notes)),
    )


def literature_table(results: Results) -> Table | None:
    """Return one row per comparison with the literature and the references; None without comparisons.

    Args:
        results: the runs of a study, of `read_results`.
    """
    pairs = compare_published(results, "literature")
    if not pairs:
        return None
    return _literature_table(
        "comparison-literature",
        f"{results.title}: comparison with the literature",
        "ours",
        pairs,
        noise_label,
    )


def paper_literature_table() -> Table:
    """Return a table of the paper's accuracies and the literature's for the same model."""
    return _literature_table(
        "comparison-paper-literature",
        "The paper versus the literature: CIFAR-10, 8-layer CNN",
        "paper",
        compare_paper_with_literature(),
        str,
    )


def _literature_table(
    name: str, title: str, ours: str, pairs: list[PublishedComparison], label: Callable[[str], str]
) -> Table:
    differences, common = _differences(pairs)
    by_source: dict[str, list[int]] = {}
    for place, pair in enumerate(pairs):
        by_source.setdefault(pair.published.source.key, []).append(place)
    notes = [_HOW, _in_all(common)]
    for key, places in by_source.items():
        shared = [word for word in differences[places[0]] if all(word in differences[i] for i in places)]
        if len(by_source) > 1 and len(places) > 1 and shared:
            notes.append(f"{key}: {'; '.join(shared)}.")
            for i in places:
                differences[i] = [word for word in differences[i] if word not in shared]
        notes.append(_not_stated([pairs[i] for i in places], key))
    rows: list[Sequence[Cell]] = [
        (
            pair.loss,
            label(pair.noise),
            pair.published.method,
            pair.published.source.key + (" (quoted)" if pair.published.secondary else ""),
            *_numbers(pair),
            "; ".join(differ),
        )
        for pair, differ in zip(pairs, differences, strict=True)
    ]
    notes.append(_sources(pair.published.source for pair in pairs))
    columns = (
        "loss",
        "noise",
        "method",
        "source",
        ours,
        "published",
        "difference",
        "95 % CI",
        "verdict",
    )
    return Table(name, title, (*columns, "settings that differ"), rows, " ".join(filter(None, notes)))


def _numbers(pair: PublishedComparison) -> tuple[Cell, ...]:
    """Return the cells of both accuracies, the difference, its interval and the verdict."""
    ours, row, contrast = pair.ours, pair.published, pair.contrast
    known = contrast.low is not None and contrast.high is not None
    interval = f"{contrast.low:+.2f} to {contrast.high:+.2f}" if known else None
    return (
        Number(ours.mean, ours.deviation, ours.low, ours.high, ours.n),
        Number(row.mean, row.deviation, n=row.runs),
        Number(contrast.difference, low=contrast.low, high=contrast.high, n=None, signed=True),
        interval,
        contrast.verdict,
    )


def _differences(pairs: Sequence[PublishedComparison]) -> tuple[list[list[str]], list[str]]:
    """Return the setting differences specific to each pair, and those that all pairs share."""
    common = [word for word in pairs[0].differs.values() if all(word in p.differs.values() for p in pairs)]
    return [[word for word in pair.differs.values() if word not in common] for pair in pairs], common


def _in_all(common: Sequence[str]) -> str:
    return f"Settings that differ in every row: {'; '.join(common)}." if common else ""


def _not_stated(pairs: Sequence[PublishedComparison], who: str) -> str:
    """Return a sentence that lists the settings a source does not state, in all rows or in some."""
    always = [name for name in pairs[0].unstated if all(name in pair.unstated for pair in pairs)]
    sometimes = dict.fromkeys(name for pair in pairs for name in pair.unstated if name not in always)
    words = [*always, *(f"{name} (in some rows)" for name in sometimes)]
    return f"Not reported by {who}: {', '.join(words)}." if words else ""


def _sources(sources: Iterable[Source]) -> str:
    return "Sources: " + "; ".join(f"{one.key}: {one.text}" for one in dict.fromkeys(sources)) + "."
