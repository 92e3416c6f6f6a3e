"""Tables: ours beside the paper's and the literature's numbers, the paper's beside the literature's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from noisylabels.report.published import Source
from noisylabels.report.tables import Cell, Number, Table
from noisylabels.study.beside import Beside, beside, nothing_published, paper_beside_literature
from noisylabels.study.families import CLEAN, Family, noise_label
from noisylabels.study.results import Results, accuracy

_HOW = (
    "Test accuracy of the last epoch in %, mean ± sample deviation. The 95 % interval of the difference is "
    "Welch's where both have a deviation and a number of runs; where one has, the other's runs are taken to "
    "scatter as much, and a number without a count to be one run. Within the spread: it contains 0."
)


def tables_beside(results: Results) -> tuple[list[Table], str]:
    """Return the tables of some results beside the paper and the literature; where none, why, in a sentence.

    Args:
        results: of one data set and model.

    Returns:
        A table for the paper of each family of noises, then one for the literature; and an empty text. Or no
        table, and the sentence.
    """
    made = paper_tables(results)
    table = literature_table(results)
    return [*made, *([table] if table else [])], nothing_published(results)


def paper_tables(results: Results) -> list[Table]:
    """Return a table for each family of noises: ours, the paper's, the difference, whether it is within."""
    pairs = beside(results, "paper")
    made, shown = [], set()
    for family in results.families:
        # clean data belong to every family; once is enough
        noises = [noise for noise in family.noises if noise not in shown]
        shown |= {CLEAN}
        there = [pair for pair in pairs if pair.noise in noises]
        if there:
            made.append(_paper_table(results, family, noises, there))
    return made


def _paper_table(results: Results, family: Family, noises: Sequence[str], pairs: list[Beside]) -> Table:
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
        f"beside-paper-{slug}",
        f"{family.title}: {results.data} beside the paper's CIFAR-10",
        ("loss", "noise", "ours", "the paper's", "difference", "95 % interval", "verdict", "differs in"),
        rows,
        " ".join(filter(None, notes)),
    )


def literature_table(results: Results) -> Table | None:
    """Return a row for each comparison with the literature, the sources under it; None if there is none."""
    pairs = beside(results, "literature")
    if not pairs:
        return None
    return _literature_table(
        "beside-literature", f"{results.title} beside the literature", "ours", pairs, noise_label
    )


def paper_table() -> Table:
    """Return the paper's numbers beside the literature's with the same model: how far they are apart."""
    return _literature_table(
        "paper-beside-literature",
        "The paper beside the literature: CIFAR-10, 8-layer CNN",
        "the paper's",
        paper_beside_literature(),
        str,
    )


def _literature_table(
    name: str, title: str, ours: str, pairs: list[Beside], label: Callable[[str], str]
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
        "95 % interval",
        "verdict",
    )
    return Table(name, title, (*columns, "differs in"), rows, " ".join(filter(None, notes)))


def _numbers(pair: Beside) -> tuple[Cell, ...]:
    """Return ours, the published, the difference, its interval and the verdict."""
    ours, row, apart = pair.ours, pair.published, pair.contrast
    interval = None if apart.low is None or apart.high is None else f"{apart.low:+.2f} to {apart.high:+.2f}"
    return (
        Number(ours.mean, ours.deviation, ours.low, ours.high, ours.n),
        Number(row.mean, row.deviation, n=row.runs),
        Number(apart.difference, low=apart.low, high=apart.high, n=None, signed=True),
        interval,
        apart.verdict,
    )


def _differences(pairs: Sequence[Beside]) -> tuple[list[list[str]], list[str]]:
    """Return what each pair differs in beyond what all do, and that."""
    common = [word for word in pairs[0].differs.values() if all(word in p.differs.values() for p in pairs)]
    return [[word for word in pair.differs.values() if word not in common] for pair in pairs], common


def _in_all(common: Sequence[str]) -> str:
    return f"In every row: {'; '.join(common)}." if common else ""


def _not_stated(pairs: Sequence[Beside], who: str) -> str:
    """Return what is not known of a source in words: of every row, or of some."""
    always = [name for name in pairs[0].unstated if all(name in pair.unstated for pair in pairs)]
    sometimes = dict.fromkeys(name for pair in pairs for name in pair.unstated if name not in always)
    words = [*always, *(f"{name} (in some rows)" for name in sometimes)]
    return f"Not known of {who}: {', '.join(words)}." if words else ""


def _sources(sources: Iterable[Source]) -> str:
    return "Sources: " + "; ".join(f"{one.key}: {one.text}" for one in dict.fromkeys(sources)) + "."
