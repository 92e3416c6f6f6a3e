"""Group the noises of a study into families: one kind of noise at increasing rates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from noisylabels.noise.spec import NoiseSpec, kind_of

CLEAN = "none"


@dataclass(frozen=True)
class Family:
    """Noises that differ only in their rate, or all noises without a rate.

    Args:
        key: the common part, such as "symmetric"; "others" for noises without a rate.
        noises: specifications, by increasing rate; clean data first if they were run.
        rates: one per noise; empty for "others".
    """

    key: str
    noises: tuple[str, ...]
    rates: tuple[float, ...] = ()

    @property
    def title(self) -> str:
        """Title of the family."""
        return "Other noises" if self.key == "others" else f"{self.key[0].upper()}{self.key[1:]} noise"

    @property
    def labels(self) -> tuple[str, ...]:
        """Column head of each noise."""
        if not self.rates:
            labels = [noise_label(noise) for noise in self.noises]
            return tuple(  # two files may have the same name
                label if labels.count(label) == 1 else noise
                for label, noise in zip(labels, self.noises, strict=True)
            )
        return tuple("clean" if not rate else f"{rate:g}" for rate in self.rates)

    @property
    def hardest(self) -> str:
        """The noise with the highest rate; the last one for noises without a rate."""
        return self.noises[-1]


def noise_label(noise: str) -> str:
    """Return a short label of a noise, with file names in place of paths.

    >>> noise_label("human:data/CIFAR-10_human.pt@worse"), noise_label("none")
    ('human:CIFAR-10_human.pt@worse', 'clean')
    """
    if noise == CLEAN:
        return "clean"
    stages = []
    for stage in NoiseSpec.parse(noise).stages:
        text = str(stage)
        stages.append(text.replace(stage.file, Path(stage.file).name) if stage.file else text)
    return " | ".join(stages)


def _family_of(noise: str) -> tuple[str, float | None]:
    """Return the key of the family of a noise, and its rate or None."""
    *before, last = NoiseSpec.parse(noise).stages
    if kind_of(last).takes != "rate" or not last.rate:  # for a ratio, larger is not noisier
        return "others", None
    kind, _, qualifiers = str(last).partition("@")
    name = kind.partition(":")[0] + (f" ({qualifiers})" if qualifiers else "")
    return " | ".join([*(str(stage) for stage in before), name]), last.rate


def families(noises: Iterable[str]) -> list[Family]:
    """Group noises into families: symmetric, asymmetric, then the others in order of appearance."""
    found: dict[str, list[tuple[float, str]]] = {}
    others = []
    noises = list(dict.fromkeys(noises))
    for noise in noises:
        if noise == CLEAN:
            continue
        key, rate = _family_of(noise)
        if rate is None:
            others.append(noise)
        else:
            found.setdefault(key, []).append((rate, noise))
    clean = [(0.0, CLEAN)] if CLEAN in noises else []
    known = ["symmetric", "asymmetric"]
    order = sorted(found, key=lambda key: next((i for i, k in enumerate(known) if key.startswith(k)), 2))
    made = []
    for key in order:
        pairs = sorted([*clean, *found[key]])
        made.append(Family(key, tuple(n for _, n in pairs), tuple(r for r, _ in pairs)))
    if others or not made:
        made.append(Family("others", (*((CLEAN,) if clean else ()), *others)))
    return made
