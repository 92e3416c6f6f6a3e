"""Write tables and figures that scripts make of stored runs into the documents that show them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from noisylabels.report.panels import Figure
from noisylabels.study.statistics import Summary


def with_tables(document: str, texts: Iterable[tuple[str, str]]) -> str:
    """Return a document with texts between their markers, <!-- NAME --> and <!-- /NAME -->.

    Args:
        document: Markdown with the markers.
        texts: pairs of a name and the text, which ends with a line break.
    """
    for name, text in texts:
        begin, end = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        before, marked, rest = document.partition(begin)
        _, closed, after = rest.partition(end)
        if not (marked and closed):
            raise SystemExit(f"the document has no place for {name}: {begin.strip()} and {end.strip()}")
        document = f"{before}{begin}\n{text}{end}{after}"
    return document


def figure_digests(figures: Iterable[Figure]) -> dict[str, str]:
    """Return a digest of the content of each figure by its name, which changes when the runs do."""
    return {
        figure.name: hashlib.sha256(json.dumps(figure.spec(), sort_keys=True).encode()).hexdigest()
        for figure in figures
    }


def interval(found: Summary) -> str:
    """Return a mean difference in points with its 95 % interval, as in "+3.1 (+1.0 to +5.2)"."""
    text = f"{100 * found.mean:+.1f}"
    if found.low is not None and found.high is not None:
        text += f" ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    return text.replace("-", "−")
