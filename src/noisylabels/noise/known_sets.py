"""Sets whose noise rate is known: what the rate of a similar set is, and how far that is from them."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources

import numpy as np

FILE = "known_sets.json"
"""Written by `benchmarks/bench_rates.py --fit`: for each source of probabilities `spread`, which widens the
interval, and `sets`, rows of coordinates, what the rate exceeds the first by, and the variance of that."""

SLOPE, HEIGHT, OFFSET = 0.7, 0.2, 0.2
"""Standard deviations of the regression's slopes, of its smooth departures from a plane, and its offset."""

LENGTH = 2.0
"""Distance over which a departure fades, in standard deviations of a coordinate over the sets."""


@dataclass(frozen=True, eq=False)
class KnownSets:
    """Gaussian process regression of sets whose noise rate is known.

    The covariance of two sets with coordinates a and b is OFFSET² + SLOPE² a·b + HEIGHT² exp(-|d|² / 2),
    d = (a - b) / (LENGTH standard deviations).

    Args:
        points: (M, D) coordinates, see `noise_rate.Evidence`.
        above: (M,) what the noise rate exceeds the first coordinate by.
        variance: (M,) of `above`, for sets of the same coordinates.
        spread: (5,) what makes the interval wide, see `noise_rate.Evidence.reach`.

    >>> sets = KnownSets(np.array([[0.1], [0.3]]), np.array([0.0, 0.1]), np.full(2, 1e-6), np.zeros(5))
    >>> above, distance = sets.predict(np.array([0.3]))
    >>> round(above, 2), distance < 0.01
    (0.1, True)
    """

    points: np.ndarray
    above: np.ndarray
    variance: np.ndarray
    spread: np.ndarray

    def predict(self, point: np.ndarray) -> tuple[float, float]:
        """Return what the rate exceeds the first coordinate by, and its standard deviation.

        The deviation is that of the regression: it grows with the distance from the sets.
        """
        inverse, weights = self._solved
        near = self._covariance(point[None])[0]
        own = OFFSET**2 + SLOPE**2 * float(point @ point) + HEIGHT**2
        return float(near @ weights), max(0.0, own - float(near @ inverse @ near)) ** 0.5

    @functools.cached_property
    def _solved(self) -> tuple[np.ndarray, np.ndarray]:
        inverse = np.linalg.inv(self._covariance(self.points) + np.diag(self.variance))
        return inverse, inverse @ self.above

    @functools.cached_property
    def _length(self) -> np.ndarray:
        return np.asarray(LENGTH * (self.points.std(axis=0) + 1e-6))

    def _covariance(self, points: np.ndarray) -> np.ndarray:
        apart = (points[:, None] - self.points) / self._length
        smooth = HEIGHT**2 * np.exp(-0.5 * np.square(apart).sum(axis=-1))
        return np.asarray(OFFSET**2 + SLOPE**2 * points @ self.points.T + smooth)


@functools.cache
def known_sets(source: str) -> KnownSets:
    """Return the sets for a source of probabilities, see `noise_rate`."""
    text = resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8")
    found = json.loads(text)[source]
    rows = np.array(found["sets"])
    return KnownSets(rows[:, :-2], rows[:, -2], rows[:, -1], np.array(found["spread"]))
