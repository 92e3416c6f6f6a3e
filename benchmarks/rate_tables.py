"""The tables of bench_rates.py: coverage, checked labels, flags, reliability."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable
from typing import Any

import numpy as np
from rate_draws import HUMAN

from noisylabels.noise.noise_rate import GIVEN, JUDGES, NETWORK

SOURCES = {JUDGES: "judges", NETWORK: "network", GIVEN: "probabilities alone"}
KINDS = ("none", "symmetric", "asymmetric", "instance", "human")
EDGES = (0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0001)
Rows = list[dict[str, Any]]


def kind_of(row: dict[str, Any]) -> str:
    """Return the kind of noise of a draw."""
    return str(row["noise"]).partition(":")[0]


def percent(values: Iterable[float]) -> str:
    """Return the mean in per cent; "-" without values."""
    found = [float(value) for value in values]
    return f"{100 * statistics.mean(found):.1f}" if found else "-"


def tables(result: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    rows: Rows = result["rows"]
    lines = [
        f"{len(rows)} draws. {result['processor']}, {result['cores']} cores, 1 thread, torch "
        f"{result['torch']}. In per cent; widths are medians, errors mean absolute ones.",
        "",
        *coverage(rows),
        "",
        "When some labels have been checked by hand: the interval of the rate of the others.",
        "",
        *checked(rows),
        "",
        "What is flagged, by all judges on photographs, and by the network from pixels:",
        "",
        *flags(rows),
        "",
        "How often a label is wrong whose probability of being wrong is given:",
        "",
        *reliability(rows),
    ]
    return "\n".join(lines) + "\n"


def coverage(rows: Rows) -> list[str]:
    """Return how often intervals hold the true rate, per group of draws and source of probabilities."""
    families = list(dict.fromkeys(row["family"] for row in rows))
    groups = [(family, [row for row in rows if row["family"] == family]) for family in families]
    photos = [row for row in rows if row["family"] == "photos"]
    groups.append(("photos, 10 classes", [row for row in photos if row["classes"] == 10]))
    groups += [(f"photos, {kind}", [row for row in photos if kind_of(row) == kind]) for kind in KINDS]
    groups += [(f"all, {kind}", [row for row in rows if kind_of(row) == kind]) for kind in KINDS]
    strong = [row for row in rows if row["family"] not in ("weak", "pixels")]
    groups += [("all but weak and pixels", strong), ("all", rows)]
    lines = [
        "| set | source | draws | interval holds the rate | width | error | former: holds | width | error |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, some in groups:
        for source, word in SOURCES.items():
            of = [(row["sources"][source], row["rate"]) for row in some if source in row["sources"]]
            if of:
                parts = [name, word, str(len(of))]
                for what in ("interval", "former"):
                    parts += _held([(one[what], rate) for one, rate in of])
                lines.append(f"| {' | '.join(parts)} |")
    return lines


def _held(found: list[tuple[list[float], float]]) -> list[str]:
    """Return coverage, median width and mean absolute error of intervals (estimate, low, high)."""
    slack = 1e-4  # of rounding
    return [
        percent(low - slack <= rate <= high + slack for (_, low, high), rate in found),
        f"{100 * statistics.median(high - low for (_, low, high), _ in found):.1f}",
        percent(abs(estimate - rate) for (estimate, _, _), rate in found),
    ]


def checked(rows: Rows) -> list[str]:
    """Return the intervals before and after labels were checked."""
    names = list(dict.fromkeys(n for row in rows for one in row["sources"].values() for n in one["checked"]))
    lines = [
        "| set | source | checked labels | draws | holds the rate | width | error "
        "| without them: width | error |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    groups = [("photos", JUDGES), ("fashion", JUDGES), ("texts", JUDGES), ("weak", JUDGES)]
    for family, source in [*groups, ("table", NETWORK), ("pixels", NETWORK), ("strong", GIVEN)]:
        for name in names:
            of = [
                (row["sources"][source], row["rate"])
                for row in rows
                if family == row["family"] and name in row["sources"].get(source, {}).get("checked", {})
            ]
            if of:
                after = _held([(one["checked"][name][:3], one["checked"][name][3]) for one, _ in of])
                before = _held([(one["interval"], rate) for one, rate in of])
                how, count = name.split(" ")
                word = f"{count}, {'at random' if how == 'random' else 'half of them of lowest quality'}"
                parts = [family, SOURCES[source], word, str(len(of)), *after, *before[1:]]
                lines.append(f"| {' | '.join(parts)} |")
    return lines


def flags(rows: Rows) -> list[str]:
    """Return what is flagged in sets of ten classes."""
    lines = [
        "| noise | draws | noise rate | estimated | average precision | flagged wrong | wrong flagged "
        "| wrong after accepting | calibration error |",
        f"|---|{'---:|' * 8}",
    ]
    kinds = [*(kind for kind in KINDS if kind != "human"), *(f"human:{name}" for name in HUMAN)]
    for family, source in (("photos", JUDGES), ("pixels", NETWORK)):
        for kind in kinds:
            some = [
                row
                for row in rows
                if row["family"] == family and row["noise"].startswith(kind) and row["classes"] == 10
            ]
            if some:
                lines.append(f"| {family}, {kind} | {' | '.join(_flags(some, source))} |")
    return lines


def _flags(rows: Rows, source: str) -> list[str]:
    found = [row["sources"][source] for row in rows]
    flagged, hits, wrong = (sum(one[name] for one in found) for name in ("flagged", "flagged_wrong", "wrong"))
    errors = [
        sum(abs(p - share) * n for p, share, n in one["reliability"]) / row["n"]
        for row, one in zip(rows, found, strict=True)
    ]
    return [
        str(len(rows)),
        percent(row["rate"] for row in rows),
        percent(one["interval"][0] for one in found),
        percent(one["average_precision"] for one in found if one["average_precision"] is not None),
        f"{100 * hits / flagged:.1f}" if flagged else "-",
        f"{100 * hits / wrong:.1f}" if wrong else "-",
        percent(one["accepted"] for one in found),
        percent(errors),
    ]


def reliability(rows: Rows) -> list[str]:
    """Return how often labels are wrong, by their probability of being wrong, over tenths of each draw."""
    heads = [f"{100 * a:.0f} to {min(100, 100 * b):.0f}" for a, b in itertools.pairwise(EDGES)]
    lines = [f"| set | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    sources = {"photos": JUDGES, "fashion": JUDGES, "texts": JUDGES, "table": NETWORK, "pixels": NETWORK}
    for family, source in (sources | {"strong": GIVEN}).items():
        groups = [
            pair
            for row in rows
            if row["family"] == family and source in row["sources"]
            for pair in row["sources"][source]["reliability"]
        ]
        if groups:
            shares = [_share(groups, a, b) for a, b in itertools.pairwise(EDGES)]
            lines.append(f"| {family} | {' | '.join(shares)} |")
    return lines


def _share(groups: list[list[float]], low: float, high: float) -> str:
    some = np.array([(share, n) for p, share, n in groups if low <= p < high])
    return f"{100 * np.average(some[:, 0], weights=some[:, 1]):.1f}" if len(some) else "-"
