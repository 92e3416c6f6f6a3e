"""The current labels of a review: the given labels with the decisions applied."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from noisylabels.core.checks import InputError
from noisylabels.data.corrections import class_finder

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


class Wanted:
    """The labels to write by id, compared with the data that they are written to.

    Args:
        session: the review.
        done: receives the counts.
    """

    def __init__(self, session: Session, done: Exported) -> None:
        self._audit = audit = session.audit
        self.labels = by_id(session, done)
        # with others than those of the data, the cells say nothing about what was audited
        own = audit.summary["labels"] is None and audit.summary["noise"] == "none"
        self._given = dict(zip(audit.ids, audit.given.tolist(), strict=True)) if own else {}
        self._number = class_finder(audit.class_names)
        self._seen: set[str] = set()
        self._edited: dict[str, str] = {}

    def find(self, name: str, cell: str | None = None) -> bool:
        """Return whether there is a label for an example of the data; its cell, if given, is checked."""
        if name not in self.labels:
            return False
        self._seen.add(name)
        given = self._given.get(name)
        if cell is not None and given is not None and self._number(cell) != given:
            classes = self._audit.class_names
            if not says(cell, classes[given], classes):
                self._edited[name] = cell
        return True

    def check(self, source: Path) -> None:
        """Raise an `InputError` unless every example of the audit was found, with the label that it had."""
        audited = set(self._audit.ids)
        changed, total = f"{source} has changed since it was audited", f"{len(self._audit):,} examples"
        if missing := [name for name in self.labels if name not in self._seen and name in audited]:
            raise InputError(
                f"{changed}: {len(missing):,} of {total} are missing, first {missing[0]!r}; run the audit "
                "again, or use --form labels"
            )
        if self._edited:
            name, cell = next(iter(self._edited.items()))
            was = self._audit.class_names[self._given[name]]
            raise InputError(
                f"{changed}: {len(self._edited):,} of {total} have another label, first {name!r} with "
                f"{cell!r}, audited as {was!r}; run the audit again with another --out, and copy "
                "review.sqlite into its folder to keep the decisions"
            )


def says(cell: str, label: str, classes: Collection[str]) -> bool:
    """Return whether a cell holds the label, including 3.0 for the class 3."""
    if cell == label:
        return True
    with contextlib.suppress(ValueError):
        return cell not in classes and float(cell) == float(label)
    return False
