"""The current labels of a review: the given labels with the decisions applied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from noisylabels.core.checks import InputError

if TYPE_CHECKING:
    from noisylabels.audit.review.session import Session


@dataclass
class Exported:
    """A finished export: its path, counts of labels, changed labels and left-out examples, and notes."""

    path: Path
    labels: int = 0
    changed: int = 0
    left_out: int = 0
    notes: list[str] = field(default_factory=list)


def current(session: Session, done: Exported) -> Iterator[tuple[str, str | None]]:
    """Yield each example's id and label, None if discarded, in the order of the audited set.

    The examples that the audited labels left out already come last.
    """
    audit, decisions = session.audit, session.decisions()
    for position, (name, given) in enumerate(zip(audit.ids, audit.given.tolist(), strict=True)):
        decision = decisions.get(position)
        label: str | None = audit.class_names[given]
        if decision is not None and decision.action == "discard":
            done.left_out += 1
            yield name, None
            continue
        if decision is not None and decision.label is not None:
            done.changed += decision.label != label
            label = decision.label
        done.labels += 1
        yield name, label
    audited = set(audit.ids)
    for name in audit.summary.get("left_out", ()):
        if name not in audited:
            done.left_out += 1
            yield name, None


def by_id(session: Session, done: Exported) -> dict[str, str | None]:
    """Return the label of each id, without ids that several examples share with different labels."""
    found: dict[str, str | None] = {}
    unclear = set()
    for name, label in current(session, done):
        if name in found and found[name] != label:
            unclear.add(name)
        found[name] = label
    return {name: label for name, label in found.items() if name not in unclear}


def check_seen(session: Session, labels: dict[str, str | None], seen: set[str], source: Path) -> None:
    """Raise an `InputError` unless every example of the audit was found in the data."""
    audited = set(session.audit.ids)
    if missing := [name for name in labels if name not in seen and name in audited]:
        raise InputError(
            f"{source} has changed since it was audited: {len(missing):,} of {len(session.audit):,} examples "
            f"are missing, first {missing[0]!r}; run the audit again, or use --form labels"
        )


def shown(name: str) -> str:
    r"""Return a file's name as the audit stores it: bytes that are not UTF-8 are written as \xff."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
