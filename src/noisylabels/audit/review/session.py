"""A review session: an audit, the decisions on it, and the data that the page requests."""

from __future__ import annotations

import shlex
import threading
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.audit.audited_data import rows_can_move
from noisylabels.audit.removal import DECISIONS
from noisylabels.audit.result import Audit
from noisylabels.audit.review.pictures import BESIDE, Pictures
from noisylabels.audit.review.store import LABELED, OPEN, Decision, Store
from noisylabels.core.checks import InputError
from noisylabels.core.wilson import wilson

PROBABLE = 9
"""Most probable classes, which have the keys 1 to 9."""


class Session:
    """An audit and the decisions stored in its folder.

    Args:
        folder: folder of the audit.
        reviewer: name stored with each decision; undo reverts decisions of the same reviewer only.
        outside: see `Pictures`.
        reading: no decision will be made, see `Store`.

    Raises:
        InputError: the folder holds no audit, or its files or decisions cannot be used.
    """

    def __init__(
        self, folder: Path, reviewer: str = "", outside: bool = False, *, reading: bool = False
    ) -> None:
        self.folder = folder
        self.audit = Audit.load(folder)
        self._by_rows = rows_can_move(self.audit)
        digest = str(self.audit.summary.get("digest") or "")
        self.store = Store(folder / DECISIONS, digest, alone=self._by_rows, reading=reading)
        self.pictures = Pictures(self.audit, folder, outside)
        self.reviewer = reviewer
        self._number = {name: k for k, name in enumerate(self.audit.class_names)}
        self._given = [self.audit.class_names[k] for k in self.audit.given.tolist()]
        self._flagged = self.audit.flagged.tolist()
        self._places: dict[str, list[int]] = {}
        for position, name in enumerate(self.audit.ids):
            self._places.setdefault(name, []).append(position)  # a table may name a file twice
        self._decisions: dict[int, Decision] = {}
        self._strange: set[str] = set()
        self._seq = 0
        self._lock = threading.Lock()
        self._catch_up()

    def listing(self) -> dict[str, Any]:
        """Return the page's data for all examples, lowest label quality first, one list per column."""
        audit, order = self.audit, self.audit.order
        features = audit.summary.get("kind") == "features"
        texts = self.pictures.beginnings() if features and audit.summary.get("texts") else None
        return {
            "name": audit.name,
            "classes": list(audit.class_names),
            "flagged": int(audit.flagged.sum()),
            "index": order.tolist(),
            "given": audit.given[order].tolist(),
            "suggested": audit.suggested[order].tolist(),
            "wrong": self._shares(audit.probability_wrong, order),
            "right": self._shares(audit.probability_suggested, order),
            "ids": [audit.ids[i] for i in order] if features else None,
            "texts": None if texts is None else [texts[i] for i in order],
            "trusted": None if audit.trusted is None else audit.trusted[order].tolist(),
            "reviewer": self.reviewer,
            "export": f"noisylabels review {shlex.quote(str(self.folder))} --export corrected.csv",
        }

    def details(self, positions: list[int]) -> dict[int, dict[str, Any]]:
        """Return the page's data for some examples beyond the listing.

        Raises:
            InputError: no such example.
        """
        audit, found = self.audit, {}
        for position in positions:
            self._check(position)
            probs = audit.probs[position]
            likely = np.argsort(-probs, kind="stable")[:PROBABLE]
            of_given, of_suggested = audit.neighbors.get(position, ([], []))
            found[position] = {
                "id": audit.ids[position],
                "why": audit.why[position],
                "score": float(f"{audit.score[position]:.3g}"),
                "wrong": self._share(audit.probability_wrong, position),
                "right": self._share(audit.probability_suggested, position),
                "chances": [
                    round(float(probs[k]), 4) for k in (audit.given[position], audit.suggested[position])
                ],
                "probable": [[int(k), round(float(probs[k]), 4)] for k in likely],
                "neighbors": [list(of_given)[:BESIDE], list(of_suggested)[:BESIDE]],
                "values": self.pictures.values(position),
                "row": self.pictures.row(position),
                "near": self.pictures.rows_beside(position),
                "problem": self.pictures.problem(),
            }
        return found

    def decide(
        self, event: str, position: int, action: str, label: int | None = None, since: int = 0
    ) -> dict[str, Any]:
        """Save a decision, and return what has changed; see `Store.save` and `changes`.

        Args:
            event: id of the decision, chosen by the client.
            position: position of the example.
            action: keep, suggested, chosen, skip or discard.
            label: number of the chosen class.
            since: number of the last event that the client knows.

        Raises:
            InputError: no such example, action or class, or the decision could not be saved.
        """
        self.store.save(event, *self._decision(position, action, label), self.reviewer)
        return self.changes(since)

    def decide_many(
        self, event: str, positions: list[int], action: str, label: int | None = None, since: int = 0
    ) -> dict[str, Any]:
        """Save the same decision on several examples, all or none; one undo takes all of them back.

        Args and errors are those of `decide`; keep and suggested name each example's own label.
        """
        if not positions:
            raise InputError("the decision names no example")
        made = [self._decision(position, action, label) for position in positions]
        self.store.save_many(event, made, self.reviewer)
        return self.changes(since)

    def undo(self, event: str, since: int = 0) -> dict[str, Any]:
        """Undo the reviewer's last decision; "undone" holds the positions of its examples.

        "nothing" is true if there was no decision left to undo.
        """
        examples = self.store.undo(event, self.reviewer)
        places = sorted({place for example in examples for place in self._places.get(example, [])[:1]})
        return self.changes(since) | {"undone": places, "nothing": not examples}

    def changes(self, since: int = 0) -> dict[str, Any]:
        """Return the number of the last event, the examples decided after `since`, and the progress.

        A row of "changes" is an example's position, the action and the number of the class, or -1.
        """
        with self._lock:
            seq = self._catch_up()
            rows = self._rows(self.store.changes(since)[1]) if since else self._decisions
            changes = [
                [
                    position,
                    decision.action,
                    self._number[decision.label] if decision.label is not None else -1,
                ]
                for position, decision in sorted(rows.items())
            ]
            return {"seq": seq, "changes": changes, "progress": self._progress()}

    def decisions(self) -> dict[int, Decision]:
        """Return the current decisions by position."""
        with self._lock:
            self._catch_up()
            return dict(self._decisions)

    def progress(self) -> dict[str, Any]:
        """Return the progress of the review; see `_progress`."""
        with self._lock:
            self._catch_up()
            return self._progress()

    def notes(self) -> list[str]:
        """Return notes on stored decisions that do not fit this audit."""
        found = []
        if others := self.store.other_audits():
            found.append(
                f"{others:,} decisions were made on an earlier state of the data; "
                + (
                    "they are kept but not applied, since its rows have no ids and may have moved"
                    if self._by_rows
                    else "they apply by example id"
                )
            )
        if self._strange:
            found.append(
                f"{len(self._strange):,} decisions concern examples or classes that this audit does not "
                "have; they are kept but not applied"
            )
        return found

    @staticmethod
    def _shares(values: np.ndarray | None, order: np.ndarray) -> list[float] | None:
        """Return probabilities in the order of the listing, short; None in an older audit."""
        return None if values is None else np.round(values[order], 3).tolist()

    @staticmethod
    def _share(values: np.ndarray | None, position: int) -> float | None:
        return None if values is None else round(float(values[position]), 6)

    def _check(self, position: object) -> None:
        if isinstance(position, bool) or not isinstance(position, int):
            raise InputError(f"the example is {position!r}, expected its position, a whole number")
        if not 0 <= position < len(self.audit):
            raise InputError(f"the example is {position}, expected 0 to {len(self.audit) - 1}")

    def _decision(self, position: int, action: str, label: int | None) -> tuple[str, str, str | None]:
        """Return a decision as the store takes it: the example's id, the action and the class name."""
        self._check(position)
        if action == "chosen":
            if not isinstance(label, int) or not 0 <= label < len(self.audit.class_names):
                raise InputError(f"the class is {label!r}, expected 0 to {len(self.audit.class_names) - 1}")
        elif action in LABELED:
            if action == "suggested" and self.audit.suggested[position] == self.audit.given[position]:
                action = "keep"  # nothing else is suggested
            label = int((self.audit.given if action == "keep" else self.audit.suggested)[position])
        else:
            label = None
        return self.audit.ids[position], action, None if label is None else self.audit.class_names[label]

    def _catch_up(self) -> int:
        """Apply the decisions that this or another process has saved since the last call."""
        self._seq, found = self.store.changes(self._seq)
        for position, decision in self._rows(found).items():
            if decision == OPEN:
                self._decisions.pop(position, None)
            else:
                self._decisions[position] = decision
        return self._seq

    def _rows(self, found: dict[str, Decision]) -> dict[int, Decision]:
        rows = {}
        for example, decision in found.items():
            known = example in self._places and (decision.label is None or decision.label in self._number)
            if not known:
                self._strange.add(example)
                continue
            rows.update(dict.fromkeys(self._places[example], decision))
        return rows

    def _progress(self) -> dict[str, Any]:
        """Count decisions; "precision" is the share changed of the flagged labels that were decided singly.

        A decision on many examples at once says little about each of them.
        """
        decided = changed = flagged = judged = found = skipped = discarded = 0
        for position, decision in self._decisions.items():
            if decision.action == "skip":
                skipped += 1
                continue
            wrong = decision.label != self._given[position]  # true for a discarded example too
            decided += 1
            changed += wrong
            discarded += decision.action == "discard"
            if self._flagged[position]:
                flagged += 1
                judged += not decision.many
                found += wrong and not decision.many
        return {
            "decided": decided,
            "changed": changed,
            "discarded": discarded,
            "skipped": skipped,
            "flagged": flagged,
            "found": found,
            "precision": [found / judged, *wilson(found, judged)] if judged else None,
        }
