"""Class imbalance: the number of examples to keep of each class, as pure functions of the class sizes."""

from __future__ import annotations

import numpy as np

from noisylabels.noise.sampling import share


def long_tail(sizes: np.ndarray, ratio: float) -> np.ndarray:
    """Return class sizes that decrease exponentially from the first class to the last.

    n_k = floor(n_max r^(k / (K - 1))), n_max the size of the largest class

    Args:
        sizes: (K,) integers: the number of examples of each class.
        ratio: r in (0, 1], the size of the last class relative to the first.

    Returns:
        (K,) int64. A class keeps at least one example, and never more than it has.

    Source: Cao et al. 2019 (LDAM), imbalance_cifar.py, "exp"; 1 / r is the imbalance factor of Cui 2019.

    >>> long_tail(np.array([100, 100, 100]), 0.01).tolist()
    [100, 10, 1]
    """
    K, largest = len(sizes), int(sizes.max())
    wanted = [share(ratio ** (k / max(K - 1, 1)), largest) for k in range(K)]
    kept: np.ndarray = np.minimum(sizes, np.maximum(wanted, 1))
    return kept


def step(sizes: np.ndarray, ratio: float) -> np.ndarray:
    """Return unchanged sizes for the first half of the classes, and a share of the largest for the rest.

    n_k = n_max for k < floor(K / 2), else floor(n_max r)

    Args and returns as for `long_tail`.

    Source: Buda et al. 2018; Cao et al. 2019 (LDAM), imbalance_cifar.py, "step".

    >>> step(np.array([100, 100, 100, 60]), 0.1).tolist()
    [100, 100, 10, 10]
    """
    K, largest = len(sizes), int(sizes.max())
    wanted = np.full(K, largest)
    wanted[K // 2 :] = max(share(ratio, largest), 1)
    kept: np.ndarray = np.minimum(sizes, wanted)
    return kept
