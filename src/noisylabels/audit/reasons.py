"""Reasons for label quality scores: one clause per example, written when it is read."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from noisylabels.data.names import shared_id

_MODELS = "looks like"  # begins a reason that rests on the models alone


@dataclass(frozen=True, eq=False, repr=False)
class Reasons(Sequence[str]):
    """The reasons of N examples, a sequence of clauses; none is stored.

    Args:
        class_names: K names.
        ids: N names of examples.
        given: (N,) int64, the given labels.
        suggested: (N,) int64, the suggested labels.
        of_given: (N,) float64, probability of the given label.
        of_suggested: (N,) float64, probability of the suggested label.
        contradicted: position -> position of the near-duplicate whose label contradicts it.
        same: what near-duplicates share: "image" or "row".
    """

    class_names: Sequence[str]
    ids: Sequence[str]
    given: np.ndarray
    suggested: np.ndarray
    of_given: np.ndarray
    of_suggested: np.ndarray
    contradicted: Mapping[int, int]
    same: str

    def __len__(self) -> int:
        return len(self.given)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        places = range(len(self))[index]
        return self._clause(places) if isinstance(places, int) else [self._clause(i) for i in places]

    def __iter__(self) -> Iterator[str]:
        return map(self._clause, range(len(self)))

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, (list, tuple, Reasons)) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} reasons>"

    @functools.cached_property
    def _names(self) -> set[str]:
        return set(self.ids)

    def _clause(self, i: int) -> str:
        given, other = self.class_names[self.given[i]], self.class_names[self.suggested[i]]
        p, q = float(self.of_given[i]), float(self.of_suggested[i])
        if i in self.contradicted:
            witness = self.contradicted[i]
            same = self.same
            if same == "row" and len({shared_id(self.ids[k], self._names) for k in (i, witness)}) == 1:
                same = "id"
            return f"same {same} as {self.ids[witness]}, labeled {self.class_names[self.given[witness]]}"
        if self.suggested[i] == self.given[i]:
            return f"{_MODELS} {given} ({percent(p)}), as labeled"
        if p >= 0.25:
            return f"{_MODELS} {other} ({percent(q)}) rather than {given} ({percent(p)})"
        return f"{_MODELS} {other} ({percent(q)}), not {given} ({percent(p)})"


def is_from_models(why: str) -> bool:
    """Return whether a reason only states the probabilities of the models.

    >>> is_from_models("looks like cat (93 %), not dog (2 %)")
    True
    >>> is_from_models("same image as a.png, labeled cat")
    False
    """
    return why.startswith(_MODELS)


def percent(share: float) -> str:
    """Return a probability in per cent; near 0 and 1 as a bound, because no prediction is certain.

    >>> percent(0.934), percent(1.0), percent(0.0)
    ('93 %', 'over 99 %', 'under 1 %')
    """
    if share >= 0.995:
        return "over 99 %"
    return "under 1 %" if share < 0.005 else f"{100 * share:.0f} %"
