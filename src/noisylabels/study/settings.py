"""Select the noises at which an expectation is tested, and the pairs of noises to compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from noisylabels.noise.spec import NoiseSpec
from noisylabels.study.families import CLEAN, Family
from noisylabels.study.results import Results

# A noise, several noises, or pairs: the noise of the first side and that of the second.

Pairs = Callable[[Results], list[tuple[str, str]]]
Where = str | Sequence[str] | Pairs


def _family(results: Results, kind: str) -> Family:
    """Return the noise family of a kind, with or without qualifier; an empty one if it was not run."""
    found = [f for f in results.families if f.key == kind or f.key.startswith(f"{kind} (")]
    return found[0] if found else Family(kind, ())


def highest(kind: str, least: float = 0.0) -> Pairs:
    """Select the highest rate of a kind of noise that was run, if it is at least `least`."""

    def pairs(results: Results) -> list[tuple[str, str]]:
        family = _family(results, kind)
        if not family.rates or family.rates[-1] < max(least, 1e-9):
            return _twice([f"{kind} noise at a rate of {least:g} or more"])
        return _twice([family.hardest])

    return pairs


def each(*kinds: str, least: float = 0.0, most: float = 1.0, clean: bool = False) -> Pairs:
    """Select all noises of the given kinds with rates in [least, most] that were run, and clean labels."""

    def pairs(results: Results) -> list[tuple[str, str]]:
        noises = [CLEAN] if clean else []
        for kind in kinds:
            family = _family(results, kind)
            found = [n for n, r in zip(family.noises, family.rates, strict=False) if r and least <= r <= most]
            within = f" at rates of {least:g} to {most:g}" if (least, most) != (0.0, 1.0) else ""
            noises += found or [f"{kind} noise{within}"]
        return _twice(noises)

    return pairs


def rates(kind: str, *wanted: float) -> Pairs:
    """Select the noises of a kind at exactly these rates, whether or not they were run.

    Args:
        kind: of noise, such as "symmetric".
        wanted: the rates, in [0, 1].
    """

    def pairs(results: Results) -> list[tuple[str, str]]:
        family = _family(results, kind)
        there = dict(zip(family.rates, family.noises, strict=False))
        return _twice([there.get(rate, f"{kind}:{rate:g}") for rate in wanted])

    return pairs


def against(first: Where, second: str) -> Pairs:
    """Compare the first side under each noise of `first` with the second side under the noise `second`."""
    return lambda results: [(noise, second) for noise, _ in noise_pairs(results, first)]


def equal_rates(first: str, second: str) -> Pairs:
    """Compare the first side under one kind of noise with the second under another kind of equal rate."""

    def pairs(results: Results) -> list[tuple[str, str]]:
        one, other = _family(results, first), _family(results, second)
        there = dict(zip(other.rates, other.noises, strict=False))
        found = [(n, there[r]) for n, r in zip(one.noises, one.rates, strict=False) if r and r in there]
        return found or [(f"{first} and {second} noise at equal rates",) * 2]

    return pairs


def _twice(noises: Iterable[str]) -> list[tuple[str, str]]:
    return [(noise, noise) for noise in noises]


def noise_pairs(results: Results, where: Where) -> list[tuple[str, str]]:
    """Return pairs of the noise of the first side and that of the second."""
    if callable(where):
        return where(results)
    noises = [where] if isinstance(where, str) else list(where)
    return _twice(noise if noise in results.noises else str(NoiseSpec.parse(noise)) for noise in noises)
