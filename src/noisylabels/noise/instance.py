"""Instance-dependent noise: one row per image, P(given = j | image, true label).

Each function is a pure function of arrays and a seed. Random numbers come from named streams and are the same
on every platform. Logarithms, matrix products and NMF differ between machines in the last bits, so rows agree
to about 12 digits everywhere; sampled labels differ only for an example whose random number falls into such a
gap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError, check_between
from noisylabels.core.rng import derive_seed, normals, uniforms
from noisylabels.noise.checks import check_labels, check_num_classes

_CHUNK_VALUES = 4_000_000  # pixels held as float64 at a time: 32 MB, whatever N and the size of an image
_NMF_IMAGES = 2_000  # that the parts are fitted to
_FEATURES = 64
_STREAM = ("noise", "instance")


def part_dependent(
    images: object,
    labels: object,
    rate: float,
    num_classes: int,
    seed: int,
    *,
    spread: float = 0.1,
    parts: int | None = None,
) -> np.ndarray:
    """Return the rows of part-dependent noise: each image has its own flip probability and target classes.

    q_n ~ N(rate, spread²) cut to [0, 1],   W_y ~ N(0, 1)^(S × K),
    P(y | x_n, y) = 1 - q_n,   P(j | x_n, y) = q_n softmax_{j ≠ y}(x_n W_y)_j

    x_n are the S pixels of image n, each channel standardized over all images. With `parts` = r, the model
    of the publication serves as the generator instead: x_n ≈ Σ_p h_np part_p by non-negative matrix
    factorization, h_n ≥ 0 scaled to sum to 1, and

    P(j | x_n, y) = Σ_p h_np P_p[y, j],

    each P_p a transition matrix with P_p[y, y] = 1 - q_py and P_p[y, j] = q_py softmax_{j ≠ y}(z_py)_j,
    q_py as q_n above and z_py ~ N(0, 1)^K.

    Args:
        images: (N, C, H, W) uint8, array or tensor; or features (N, D), finite floats, each standardized like
            a channel. Features cannot have `parts`, which need non-negative values.
        labels: (N,) integers in [0, K), the true labels.
        rate: the center of the flip rates, in [0, 1]. Truncation moves their mean inwards near the ends:
            with a spread of 0.1 the rates 0.1, 0.2, 0.4 give noise rates of 0.129, 0.206, 0.400.
        num_classes: K, 2 or more.
        seed: 0 or more.
        spread: the deviation of the flip rates, 0 or more; 0 gives every image `rate`. At the rates 0 and 1
            the spread is 0.
        parts: r, 1 or more; None for the authors' generator.

    Returns:
        (N, K) float64, rows sum to 1. q_n belongs to the position n, and the same u_n gives q_n at every
        rate, so that comparisons across rates are paired; the shares of the other classes belong to the
        image. Permuting the images therefore permutes the shares but not the flip rates.

    Raises:
        InputError: images that are not uint8 (N, C, H, W), labels that do not match them, numbers out of
            range.

    Source: Xia et al. 2020, "Part-dependent label noise: towards instance-dependent label noise"; code
    xiaoboxia/Part-dependent-label-noise, tools.py, get_instance_noisy_label. That generator has no parts:
    the publication uses parts and the combination of their matrices (section 3) to *estimate* such noise.
    `parts` uses its model as a generator, and is not a benchmark of the field.

    Where we differ from the code: it multiplies raw pixels, 0 to 255, by W, and their common mean sends
    most flips of a class to one class (on CIFAR-10 71 % of them, averaged over the classes; with
    standardized pixels 26 %); we standardize. It computes in float32 and draws other random numbers, so
    the labels are not identical to its labels. In both, x_n W_y has a deviation of about √S, 55 for CIFAR,
    so that each image has almost always a single class to flip to.

    >>> images = np.arange(4 * 12, dtype=np.uint8).reshape(4, 3, 2, 2) * 5
    >>> rows = part_dependent(images, [0, 0, 1, 2], 0.3, 3, seed=1)
    >>> rows.shape, np.allclose(rows.sum(axis=1), 1)
    ((4, 3), True)
    >>> (1 - rows[[0, 1, 2, 3], [0, 0, 1, 2]]).round(3).tolist()
    [0.385, 0.357, 0.319, 0.258]
    """
    K = check_num_classes(num_classes, least=2)
    pixels, true = _pixels(images), check_labels(labels, K)
    _check_inputs(pixels, true, rate)
    check_between(spread, "spread", 0)
    if parts is not None:
        return _by_parts(pixels, true, rate, K, seed, spread, parts)
    flips = _flip_rates(len(true), rate, spread, seed, *_STREAM, "rate")
    rows = np.empty((len(true), K))
    mean, deviation = _moments(pixels)
    for label in np.unique(true).tolist():
        members = np.flatnonzero(true == label)
        # A stream for every class: the matrix of class 7 is the same, whatever classes there are.
        W = normals(pixels[0].size * K, seed, *_STREAM, "projection", label).reshape(-1, K)
        for some in _chunks(members, pixels[0].size):
            logits = _standardized(pixels[some], mean, deviation) @ W
            rows[some] = _to_others(logits, label)
    rows *= flips[:, None]
    rows[np.arange(len(true)), true] = 1 - flips
    return rows


def feature_projection(
    images: object, labels: object, rate: float, num_classes: int, seed: int, *, features: int = _FEATURES
) -> np.ndarray:
    """Return the rows of boundary noise: images near the boundary to the next class flip most often.

    f_n = x_n R,   R ~ N(0, 1/d)^(S × d),   c_k the mean of f over the images of class k,
    s_n = argmin_{k ≠ y} |f_n - c_k|,   m_n = (|f_n - c_s|² - |f_n - c_y|²) / (2 |c_s - c_y|),
    P(s_n | x_n, y) = σ((b - m_n) / t),   P(y | x_n, y) = 1 - P(s_n | x_n, y)

    m_n is the signed distance of the image from the plane midway between its own class and the
    runner-up, negative beyond it; t is the deviation of m over all images; b is solved for so that the mean
    flip probability is `rate`.

    Args:
        images: (N, C, H, W) uint8, array or tensor; x_n are its S pixels, each channel standardized. Or
            features (N, D), finite floats, standardized likewise.
        labels: (N,) integers in [0, K), the true labels, of at least two classes.
        rate: the expected noise rate, in [0, 1], exact to 1e-12.
        num_classes: K, 2 or more. A class without images is never a runner-up.
        seed: 0 or more; it determines the projection R, and thereby which images are hard.
        features: d, 1 or more.

    Returns:
        (N, K) float64, rows sum to 1, with two nonzero entries each. Permuting the images permutes the rows.

    Raises:
        InputError: as for `part_dependent`; all labels are of one class.

    Source: a flip probability that decreases with the distance from the boundary is the boundary-consistent
    noise of Menon et al. 2018, "Learning from binary labels with instance-dependent noise"; the runner-up
    as the noisy label is from Zhang et al. 2021, "Learning with feature-dependent label noise: a
    progressive approach" (PMD noise). They use the posterior of a trained network; we use distances from
    class means in a random projection, which need no training.

    >>> images = np.repeat(np.array([0, 40, 120, 250], dtype=np.uint8), 12).reshape(4, 3, 2, 2)
    >>> rows = feature_projection(images, [0, 0, 1, 1], 0.25, 3, seed=0)
    >>> round(float(1 - rows[[0, 1, 2, 3], [0, 0, 1, 1]].mean()), 12)
    0.25
    """
    K = check_num_classes(num_classes, least=2)
    pixels, true = _pixels(images), check_labels(labels, K)
    _check_inputs(pixels, true, rate)
    if isinstance(features, bool) or not isinstance(features, int) or features < 1:
        raise InputError(f"features is {features!r}, expected an integer of 1 or more")
    present = np.unique(true)
    if len(present) < 2:
        raise InputError(
            f"all {len(true)} labels are of class {int(present[0])}, expected two classes or more, because "
            "this noise flips to the nearest other class"
        )
    R = normals(pixels[0].size * features, seed, *_STREAM, "features").reshape(-1, features)
    f = _projected(pixels, R / math.sqrt(features))
    centers = np.stack([f[true == k].mean(axis=0) for k in present])
    own = np.searchsorted(present, true)
    everyone = np.arange(len(true))
    distances = np.stack([((f - center) ** 2).sum(axis=1) for center in centers], axis=1)
    of_own = distances[everyone, own]
    distances[everyone, own] = np.inf
    runner_up = distances.argmin(axis=1)
    gap = np.sqrt(((centers[runner_up] - centers[own]) ** 2).sum(axis=1))
    # Classes with equal means have no plane between them: margin 0.
    margin = np.where(gap > 0, (distances[everyone, runner_up] - of_own) / (2 * np.where(gap > 0, gap, 1)), 0)
    flips = _calibrated(margin, rate)
    rows = np.zeros((len(true), K))
    rows[everyone, true] = 1 - flips
    rows[everyone, present[runner_up]] = flips
    return rows


def _by_parts(
    pixels: np.ndarray, true: np.ndarray, rate: float, K: int, seed: int, spread: float, parts: int
) -> np.ndarray:
    """Return Σ_p h_np P_p[y_n], the rows of `part_dependent` with parts."""
    if isinstance(parts, bool) or not isinstance(parts, int) or parts < 1:
        raise InputError(f"parts is {parts!r}, expected an integer of 1 or more")
    if pixels.dtype != np.uint8:
        raise InputError("@parts needs images, and these are features; leave out @parts")
    weights = _part_weights(pixels, parts, seed)
    flips = _flip_rates(parts * K, rate, spread, seed, *_STREAM, "parts", "rate").reshape(parts, K)
    z = normals(parts * K * K, seed, *_STREAM, "parts", "classes").reshape(parts, K, K)
    rows = np.zeros((len(true), K))
    for part in range(parts):
        matrix = np.stack([_to_others(z[part, [y]], y)[0] * flips[part, y] for y in range(K)])
        np.fill_diagonal(matrix, 1 - flips[part])
        rows += weights[:, [part]] * matrix[true]
    return rows


def _part_weights(pixels: np.ndarray, parts: int, seed: int) -> np.ndarray:
    """Return h, (N, parts): the share of each part in an image, 0 or more, rows sum to 1."""
    import warnings

    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning

    size = pixels[0].size
    if not pixels.any():  # NMF would divide by zero
        return np.full((len(pixels), parts), 1 / parts)
    model = NMF(
        parts,
        init="random",
        solver="mu",
        max_iter=100,
        random_state=derive_seed(seed, *_STREAM, "nmf") % 2**32,
    )
    spaced = np.unique(np.linspace(0, len(pixels) - 1, min(len(pixels), _NMF_IMAGES)).astype(np.int64))
    weights = np.empty((len(pixels), parts))
    with warnings.catch_warnings():  # nearly optimal parts will do
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(pixels[spaced].reshape(len(spaced), size) / 255)
        for some in _chunks(np.arange(len(pixels)), size):
            weights[some] = model.transform(pixels[some].reshape(len(some), size) / 255)
    total = weights.sum(axis=1, keepdims=True)
    return np.where(
        total > 0, weights / np.where(total > 0, total, 1), 1 / parts
    )  # a black image has no part


# The pixels ---------------------------------------------------------------------------------------


def _pixels(images: Any) -> np.ndarray:
    """Return images as an array (N, C, H, W), without a copy if they are one already."""
    if not hasattr(images, "shape"):
        raise InputError(
            f"images are a {type(images).__name__}, expected a uint8 array or tensor (N, C, H, W)"
        )
    if hasattr(images, "detach"):  # a torch tensor, recognized without importing torch
        images = images.detach().cpu().numpy()
    array = np.asarray(images)
    if array.ndim == 2 and array.dtype.kind == "f" and array.size and np.isfinite(array).all():
        return array[:, :, None, None]  # one channel per feature
    if array.ndim != 4 or array.dtype != np.uint8 or not array.size:
        raise InputError(
            f"images are {array.dtype} of shape {array.shape}, expected uint8 (N, C, H, W), N of 1 or more"
        )
    return array


def _check_inputs(pixels: np.ndarray, true: np.ndarray, rate: float) -> None:
    if len(pixels) != len(true):
        raise InputError(
            f"there are {len(pixels)} images and {len(true)} labels, expected one label per image"
        )
    check_between(rate, "rate", 0, 1)


def _moments(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of each channel, (C,) float64.

    Those of images come from integer counts and are identical on every machine; those of features are
    NumPy's own in float64.
    """
    if pixels.dtype != np.uint8:
        columns = pixels.reshape(len(pixels), -1).astype(np.float64)
        spread = columns.std(axis=0)
        constant = spread <= 1e-12 * np.abs(columns).max(axis=0)  # constant except for rounding
        return columns.mean(axis=0), np.where(constant, 1.0, spread)
    levels = np.arange(256)
    means, deviations = [], []
    for channel in range(pixels.shape[1]):
        counts = np.zeros(256, dtype=np.int64)
        for some in _chunks(np.arange(len(pixels)), pixels[0, 0].size):
            counts += np.bincount(pixels[some, channel].ravel(), minlength=256)
        n, total, squares = (int((counts * levels**power).sum()) for power in (0, 1, 2))
        means.append(total / n)
        deviations.append(math.sqrt(squares * n - total * total) / n or 1.0)  # a constant channel becomes 0
    return np.array(means), np.array(deviations)


def _standardized(pixels: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return (n, C * H * W) float64 with mean 0 and deviation 1 in each channel of the whole set."""
    x: np.ndarray = (pixels - mean[:, None, None]) / deviation[:, None, None]
    return x.reshape(len(x), -1)


def _projected(pixels: np.ndarray, R: np.ndarray) -> np.ndarray:
    mean, deviation = _moments(pixels)
    f = np.empty((len(pixels), R.shape[1]))
    for some in _chunks(np.arange(len(pixels)), len(R)):
        f[some] = _standardized(pixels[some], mean, deviation) @ R
    return f


def _chunks(indices: np.ndarray, values_each: int) -> Iterator[np.ndarray]:
    step = max(1, _CHUNK_VALUES // values_each)
    for start in range(0, len(indices), step):
        yield indices[start : start + step]


# Random numbers, and probabilities derived from them ---------------------------------------------


def _flip_rates(n: int, rate: float, spread: float, seed: int, *name: str | int) -> np.ndarray:
    """Return n draws from N(rate, spread²) truncated to [0, 1], by the inverse distribution function."""
    if spread == 0 or rate in (0, 1):
        return np.full(n, float(rate))
    normal = NormalDist(rate, spread)
    low, high = normal.cdf(0), normal.cdf(1)
    tiny = 2.0**-53  # the inverse is defined on the open interval
    q = [
        normal.inv_cdf(min(max(low + u * (high - low), tiny), 1 - tiny))
        for u in uniforms(n, seed, *name).tolist()
    ]
    return np.clip(q, 0, 1)


def _to_others(logits: np.ndarray, label: int) -> np.ndarray:
    """Return softmax over all classes except `label`, which gets 0, (n, K); `logits` are overwritten."""
    logits[:, label] = -np.inf
    weights: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def _calibrated(margin: np.ndarray, rate: float) -> np.ndarray:
    """Return σ((b - margin) / t), t the deviation of the margins, b such that the mean is `rate`."""
    deviation = float(margin.std())
    if rate in (0, 1) or deviation == 0:
        return np.full(len(margin), float(rate))
    scaled = margin / deviation

    def flips(b: float) -> np.ndarray:
        # tanh does not overflow, and its error at the small end is at most 1e-16
        return 0.5 * (1 + np.tanh((b - scaled) / 2))

    logit = math.log(rate / (1 - rate))  # where b - margin equals it, an image flips at `rate`
    low, high = float(scaled.min()) + logit, float(scaled.max()) + logit
    for _ in range(64):  # bisection down to the resolution of float64
        middle = (low + high) / 2
        low, high = (middle, high) if flips(middle).mean() < rate else (low, middle)
    return flips((low + high) / 2)
