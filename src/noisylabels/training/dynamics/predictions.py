"""When each example is learned and forgotten, and how margins and entropy are distributed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from noisylabels.training.checkpoint import check_same
from noisylabels.training.dynamics.sums import Sums

AT_ONCE = 8192
"""Examples whose logits are kept before they are looked at together: many small steps cost less this way."""

MARGIN_BINS = 20
"""Bins of the margin, from -1 to 1."""

NEVER = 0

LOWEST = -1e4
"""Logarithm in place of that of a probability of 0, which does not enter the entropy."""


class Predictions:
    """Follows the predictions that training makes for each example, one per epoch.

    Args:
        given: int64, (N,): the given labels.
        true: int64, (N,): the true labels; None if unknown.
        positions: int64, (n,): the examples that are trained on.
    """

    def __init__(self, given: Tensor, true: Tensor | None, positions: Tensor) -> None:
        n, device = len(given), given.device
        self.given, self.true, self.positions = given, true, positions
        self.noisy = None if true is None else given != true
        integers = {"dtype": torch.int32, "device": device}
        self.hit = torch.zeros(n, dtype=torch.bool, device=device)  # predicted as given, at the last visit
        self.true_hit = torch.zeros(n, dtype=torch.bool, device=device)
        self.learned = torch.full((n,), NEVER, **integers)  # type: ignore[call-overload]
        self.forgotten = torch.zeros(n, **integers)  # type: ignore[call-overload]
        self.kept = torch.full((n,), NEVER, **integers)  # type: ignore[call-overload]
        self.true_learned = torch.full((n,), NEVER, **integers)  # type: ignore[call-overload]
        self.true_forgotten = torch.zeros(n, **integers)  # type: ignore[call-overload]
        self.margin = torch.zeros(n, device=device)
        self.entropy = torch.zeros(n, device=device)
        # positions of each part: clean and noisy labels, or all where these are unknown
        self.parts = {"all": positions}
        if self.noisy is not None:
            noisy = self.noisy[positions]
            self.parts = {"clean": positions[~noisy], "noisy": positions[noisy]}
        self.parts = {part: at for part, at in self.parts.items() if len(at)}
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._waiting_examples = 0

    def add(self, epoch: int, positions: Tensor, logits: Tensor) -> None:
        """Add the logits (B, K) of a step of `epoch` (from 1)."""
        if logits.device.type == "cuda":  # a replayed step writes the next ones into the same memory
            positions, logits = positions.clone(), logits.clone()
        self._waiting.append((positions, logits))
        self._waiting_examples += len(positions)
        if self._waiting_examples >= AT_ONCE:
            self.flush(epoch)

    def flush(self, epoch: int) -> None:
        """Look at the logits that were added."""
        if not self._waiting:
            return
        at = torch.cat([positions for positions, _ in self._waiting])
        logits = torch.cat([each for _, each in self._waiting]).float()
        self._waiting, self._waiting_examples = [], 0
        log_p = logits.log_softmax(1)
        p = log_p.exp()
        given = self.given[at]
        own = p.gather(1, given[:, None])[:, 0]
        others = p.scatter(1, given[:, None], -1.0).amax(1)
        self.margin[at] = own - others
        self.entropy[at] = -(p * log_p.clamp_min(LOWEST)).sum(1)
        predicted = logits.argmax(1)
        hit, before = predicted == given, self.hit[at]
        _first(self.learned, at, hit, epoch)
        self.forgotten[at] += (before & ~hit).int()
        # the epoch since which it has been predicted as given without a break
        self.kept[at] = torch.where(hit, torch.where(before, self.kept[at], epoch), NEVER)
        self.hit[at] = hit
        if self.true is not None:
            right, before = predicted == self.true[at], self.true_hit[at]
            _first(self.true_learned, at, right, epoch)
            self.true_forgotten[at] += (before & ~right).int()
            self.true_hit[at] = right

    def summarize(self, sums: Sums) -> None:
        """Add the epoch's entropy and margins, of all examples or of clean and noisy labels."""
        for part, at in self.parts.items():
            sums.add("entropy", part, "", float(self.entropy[at].mean()))
            margin = self.margin[at]
            sums.add("margin", part, "", float(margin.mean()))
            places = ((margin + 1) / 2 * MARGIN_BINS).long().clamp(0, MARGIN_BINS - 1)
            counts = torch.bincount(places, minlength=MARGIN_BINS).tolist()
            for place, count in enumerate(counts):
                sums.add("margin_share", part, margin_key(place), count / len(at))
            sums.add("learned_share", part, "", float((self.learned[at] > NEVER).double().mean()))
            sums.add("forgetting_events", part, "", float(self.forgotten[at].double().mean()))

    def examples(self) -> dict[str, Any]:
        """Return one array per column of the table of examples, see `recording.EXAMPLE_COLUMNS`."""
        at = self.positions
        names = ["learned", "kept", "forgotten", "margin"]
        names += ["true_learned", "true_forgotten"] if self.true is not None else []
        found = {"position": at} | {name: getattr(self, name)[at] for name in names}
        if self.noisy is not None:
            found["noisy"] = self.noisy[at]
        return {name: each.cpu().numpy() for name, each in found.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """Return what has been found so far; logits that wait must have been looked at."""
        return {name: getattr(self, name) for name in _STATE}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        check_same(state, self.state_dict())
        for name in _STATE:
            getattr(self, name).copy_(state[name])


_STATE = (
    *("hit", "true_hit", "learned", "forgotten", "kept"),
    *("true_learned", "true_forgotten", "margin", "entropy"),
)


def margin_key(place: int) -> str:
    """Return the key of a bin of margins: its lower end.

    >>> margin_key(0), margin_key(19)
    ('-1.0', '0.9')
    """
    return f"{2 * place / MARGIN_BINS - 1:.1f}"


def _first(epochs: Tensor, at: Tensor, now: Tensor, epoch: int) -> None:
    """Set the first epoch of those examples at `at` for which `now` is true and that have none yet."""
    there = epochs[at]
    epochs[at] = torch.where(now & (there == NEVER), epoch, there).to(epochs.dtype)
