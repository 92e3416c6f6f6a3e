"""Count results by generator, and write the table of a campaign as Markdown and JSON.

`python -m campaign.table A.json B.json --out OUT` writes one table of several campaigns, OUT.md and OUT.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from campaign.running import Result

Rows = Mapping[str, Mapping[str, int]]
"""Counts by generator."""

COLUMNS = ("cases", "valid", "refused", "failed", "kills", "findings")


class Counts:
    """Counts of one campaign by generator, and its findings.

    Args:
        known: counts of an earlier call with the same seed, to go on from.
    """

    def __init__(self, known: Rows | None = None) -> None:
        self.rows: dict[str, dict[str, int]] = {name: dict(row) for name, row in (known or {}).items()}
        self.findings: list[dict[str, Any]] = []

    def add(self, result: Result, repeat: str) -> None:
        """Count a result; `repeat` is the command that repeats it."""
        row = self.rows.setdefault(result.generator, dict.fromkeys(COLUMNS, 0))
        row["cases"] += 1
        column = {0: "valid", 2: "refused", 1: "failed"}.get(
            result.outcome.code if result.outcome.code is not None else -1
        )
        row["kills"] += result.kills
        if column:
            row[column] += 1
        if result.outcome.findings:
            row["findings"] += 1
            self.findings.append(
                {
                    "repeat": repeat,
                    "generator": result.generator,
                    "words": list(result.words),
                    "findings": list(result.outcome.findings),
                    "output": result.outcome.output[-1500:],
                }
            )

    def total(self, column: str) -> int:
        """Return the sum of a column."""
        return sum(row[column] for row in self.rows.values())


def markdown(about: Mapping[str, Any], rows: Rows) -> str:
    """Return the table of a campaign."""
    lines = [
        f"# {about['title']}",
        "",
        f"`{about['command']}`, {about['minutes']:.0f} minutes on {about['machine']}.",
        "",
        by_generator(rows),
    ]
    if about.get("coverage"):
        from campaign import reached

        lines.append(reached.markdown(about["sound"], about["coverage"]))
    return "\n".join(lines)


def by_generator(rows: Rows) -> str:
    """Return the counts by generator as a table; the share is that of valid inputs, with exit code 0."""
    lines = [
        "| generator | cases | valid input | share | refused | training failed | kills | findings |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    total = {column: sum(row[column] for row in rows.values()) for column in COLUMNS}
    for name, row in [*sorted(rows.items()), ("**all**", total)]:
        share = f"{100 * row['valid'] / max(1, row['cases']):.0f} %"
        cells = [f"{row[column]:,}" for column in COLUMNS]
        lines.append(f"| {name} | {' | '.join([*cells[:2], share, *cells[2:]])} |")
    return "\n".join([*lines, ""])


def together(campaigns: Sequence[Mapping[str, Any]]) -> str:
    """Return the tables of several campaigns: by generator, by campaign, and what the readers reach."""
    from campaign import reached

    rows: dict[str, dict[str, int]] = {}
    for row_of in (each["rows"] for each in campaigns):
        for name, row in row_of.items():
            known = rows.setdefault(name, dict.fromkeys(COLUMNS, 0))
            for column in COLUMNS:
                known[column] += row[column]
    lines = [
        by_generator(rows),
        "| campaign | cases | kills | findings | minutes |",
        "|---|---:|---:|---:|---:|",
    ]
    for each in campaigns:
        counts = [
            sum(row[column] for row in each["rows"].values()) for column in ("cases", "kills", "findings")
        ]
        cells = [f"`{each['command']}`", *(f"{count:,}" for count in counts), f"{each['minutes']:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    lines += [reached.markdown(each["sound"], each["coverage"]) for each in campaigns if each.get("coverage")]
    return "\n".join(lines)


def portable(campaign: dict[str, Any]) -> dict[str, Any]:
    """Return a campaign without the output of its findings and the folders of the machine that they name."""
    kept = ("repeat", "generator", "words", "findings")
    found = [{name: finding[name] for name in kept} for finding in campaign.get("findings", [])]
    for finding in found:
        finding["findings"] = [re.sub(r"/[^\s:']*/", "", line) for line in finding["findings"]]
    return campaign | {"findings": found}


def machine() -> str:
    """Return the processor's name and the versions that matter."""
    from noisylabels.core.process import processor

    return f"{processor()}, Python {platform.python_version()}"


def write(path: Path, about: Mapping[str, Any], counts: Counts) -> None:
    """Write PATH.json and PATH.md."""
    tree = {**about, "rows": counts.rows, "findings": counts.findings}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps(tree, indent=1) + "\n")
    path.with_suffix(".md").write_text(markdown(about, counts.rows))


def main() -> None:
    """Write one table of several campaigns."""
    parser = argparse.ArgumentParser("python -m campaign.table", description=__doc__)
    parser.add_argument("campaigns", type=Path, nargs="+", metavar="CAMPAIGN.json")
    parser.add_argument("--out", type=Path, required=True, help="write OUT.md and OUT.json")
    given = parser.parse_args()
    campaigns = [portable(json.loads(path.read_text())) for path in given.campaigns]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.with_suffix(".json").write_text(json.dumps({"campaigns": campaigns}, indent=1) + "\n")
    given.out.with_suffix(".md").write_text(together(campaigns))


if __name__ == "__main__":
    main()
