"""Lines and branches of the readers that a campaign reaches, with the package coverage."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

READERS = (
    "data/*.py",
    "core/*.py",
    "noise/*files.py",
    "noise/label*.py",
    "noise/s*.py",
    "noise/human.py",
    "losses/expression.py",
    "audit/*files.py",
    "audit/audit_folder.py",
    "audit/result.py",
    "audit/saved_probs.py",
    "audit/trusted*.py",
    "audit/review/store.py",
    "audit/review/forms.py",
    "encoders/*_files.py",
    "encoders/h*.py",
    "encoders/store.py",
    "encoders/claimed_size.py",
    "experiment/config.py",
    "experiment/folder.py",
    "study/grid.py",
    "study/re*.py",
    "study/store.py",
    "training/checkpoint.py",
    "training/history.py",
    "training/weights_file.py",
)
"""Files of the package that read what a user or another program wrote."""


Rows = dict[str, dict[str, int]]
"""Of each room: lines, those reached, branches, those taken."""


def start(file: Path) -> Any:
    """Return a started recorder that writes a part of the record beside `file`."""
    import coverage

    found = coverage.Coverage(data_file=str(file), data_suffix=True, branch=True, source=[str(_package())])
    found.start()
    return found


def clear(file: Path) -> None:
    """Remove the record of an earlier campaign."""
    for path in (file, *file.parent.glob(f"{file.name}.*")):
        path.unlink(missing_ok=True)


def stop(recorder: Any) -> None:
    """Stop a recorder and write its part."""
    if recorder is not None:
        recorder.stop()
        recorder.save()


def _package() -> Path:
    import noisylabels

    return Path(noisylabels.__file__).parent


def shares(file: Path) -> Rows:
    """Return of each room the statements and branches of its readers, and how many of them were reached."""
    import coverage

    record = coverage.Coverage(data_file=str(file), branch=True, source=[str(_package())])
    record.combine([str(path) for path in file.parent.glob(f"{file.name}.*")], keep=True)
    rows: Rows = {}
    for path in sorted(_package().rglob("*.py")):
        name = path.relative_to(_package()).as_posix()
        if not any(fnmatch.fnmatch(name, pattern) for pattern in READERS):
            continue
        numbers = record._analyze(str(path)).numbers  # the public report has shares, and no counts
        row = rows.setdefault(name.split("/")[0], dict.fromkeys(("lines", "reached", "branches", "taken"), 0))
        row["lines"] += numbers.n_statements
        row["reached"] += numbers.n_executed
        row["branches"] += numbers.n_branches
        row["taken"] += numbers.n_executed_branches
    return rows


def markdown(before: Rows, after: Rows) -> str:
    """Return the shares before the cases, by sound files alone, and after them as a table."""
    lines = [
        "| readers in | lines | before | after | branches | before | after |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    total: Rows = {"**all**": {}}
    for key in ("lines", "reached", "branches", "taken"):
        total["**all**"][key] = sum(row[key] for row in after.values())
    first = {key: sum(row[key] for row in before.values()) for key in ("reached", "taken")}
    for name, row in [*after.items(), *total.items()]:
        was = before.get(name, first)
        cells = [name]
        for part, whole in (("reached", "lines"), ("taken", "branches")):
            shares = (100 * each[part] / max(1, row[whole]) for each in (was, row))
            cells += [f"{row[whole]:,}", *(f"{share:.1f} %" for share in shares)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])
