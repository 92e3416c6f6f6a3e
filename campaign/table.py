"""Count results by generator, and write the table of a campaign as Markdown and JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from campaign.running import Result

COLUMNS = ("cases", "valid", "refused", "failed", "kills", "findings")


class Counts:
    """Counts of one campaign by generator, and its findings.

    Args:
        known: counts of an earlier call with the same seed, to go on from.
    """

    def __init__(self, known: Mapping[str, Mapping[str, int]] | None = None) -> None:
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


def markdown(about: Mapping[str, Any], rows: Mapping[str, Mapping[str, int]]) -> str:
    """Return the table of a campaign."""
    lines = [
        f"# {about['title']}",
        "",
        f"`{about['command']}`, {about['minutes']:.0f} minutes on {about['machine']}.",
        "",
        "| generator | cases | valid input | refused | training failed | kills | findings |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    total = dict.fromkeys(COLUMNS, 0)
    for name in sorted(rows):
        lines.append(f"| {name} | " + " | ".join(f"{rows[name][column]:,}" for column in COLUMNS) + " |")
        for column in COLUMNS:
            total[column] += rows[name][column]
    lines.append("| **all** | " + " | ".join(f"**{total[column]:,}**" for column in COLUMNS) + " |")
    share = 100 * total["valid"] / max(1, total["cases"])
    lines += ["", f"Valid inputs, which end with exit code 0: {share:.0f} % of the cases."]
    if about.get("coverage"):
        from campaign import reached

        lines += ["", reached.markdown(about["coverage"])]
    return "\n".join([*lines, ""])


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
