"""Where to look in the results of a study: which noises, and which against which."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from noisylabels.noise.spec import NoiseSpec
from noisylabels.study.families import CLEAN, Family
from noisylabels.study.results import Results

# Where to look: a noise, several, or pairs of a noise for the first side and one for the second.

Pairs = Callable[[Results], list[tuple[str, str]]]
Where = str | Sequence[str] | Pairs


def _family(results: Results, kind: str) -> Family:
    """Return the family of a kind, with a qualifier or without; an empty one if there is none."""
    found = [f for f in results.families if f.key == kind or f.key.startswith(f"{kind} (")]
    return found[0] if found else Family(kind, ())


def highest(kind: str, least: float = 0.0) -> Pairs:
    """Return where: the noise of a kind of the highest rate that was run, if that is `least` or more."""

    def pairs(results: Results) -> list[tuple[str, str]]:
        family = _family(results, kind)
        if not family.rates or family.rates[-1] < max(least, 1e-9):
            return _twice([f"{kind} noise of a rate of {least:g} or more"])
        return _twice([family.hardest])

    return pairs


def each(*kinds: str, least: float = 0.0, most: float = 1.0, clean: bool = False) -> Pairs:
    """Return where: every noise of some kinds that was run, within rates; and clean labels."""

    def pairs(results: Results) -> list[tuple[str, str]]:
        noises = [CLEAN] if clean else []
        for kind in kinds:
            family = _family(results, kind)
            found = [n for n, r in zip(family.noises, family.rates, strict=False) if r and least <= r <= most]
            within = f" of a rate of {least:g} to {most:g}" if (least, most) != (0.0, 1.0) else ""
            noises += found or [f"{kind} noise{within}"]
        return _twice(noises)

    return pairs


def rates(kind: str, *wanted: float) -> Pairs:
    """Return where: the noises of a kind of exactly these rates, whether they were run or not."""

    def pairs(results: Results) -> list[tuple[str, str]]:
        family = _family(results, kind)
        there = dict(zip(family.rates, family.noises, strict=False))
        return _twice([there.get(rate, f"{kind}:{rate:g}") for rate in wanted])

    return pairs


def against(first: Where, second: str) -> Pairs:
    """Return where: the first side under some noises, the second under one other."""
    return lambda results: [(noise, second) for noise, _ in noise_pairs(results, first)]


def equal_rates(first: str, second: str) -> Pairs:
    """Return where: the first side under one kind of noise, the second under another of the same rate."""

    def pairs(results: Results) -> list[tuple[str, str]]:
        one, other = _family(results, first), _family(results, second)
        there = dict(zip(other.rates, other.noises, strict=False))
        found = [(n, there[r]) for n, r in zip(one.noises, one.rates, strict=False) if r and r in there]
        return found or [(f"{first} and {second} noise of one rate",) * 2]

    return pairs


def _twice(noises: Iterable[str]) -> list[tuple[str, str]]:
    return [(noise, noise) for noise in noises]


def noise_pairs(results: Results, where: Where) -> list[tuple[str, str]]:
    """Return the noises of the first side, each with that of the second."""
    if callable(where):
        return where(results)
    noises = [where] if isinstance(where, str) else list(where)
    return _twice(noise if noise in results.noises else str(NoiseSpec.parse(noise)) for noise in noises)
