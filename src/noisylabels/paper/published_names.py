"""Map names of published methods to loss expressions of this library, with the constants of their sources.

A name such as NCE+MAE gives the terms of a sum but not the weights, and implementations define MAE
differently. A method therefore has a shape, given by its name, and an expression only if the source or its
code states the constants.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from noisylabels.core.checks import InputError
from noisylabels.losses import PRESETS, Loss, loss
from noisylabels.losses.expression import read_terms
from noisylabels.losses.presets import preset, with_ln
from noisylabels.losses.terms import canonical
from noisylabels.losses.user_loss import unresolved_row
from noisylabels.paper.published import Published

SHAPES = {
    "CE": "ce",
    "FL": "fl",
    "MAE": "mae",
    "RCE": "rce",
    "GCE": "gce",
    "SCE": "sce",
    "NCE": "nce",
    "NFL": "nfl",
    "NMAE": "nmae",
    "NRCE": "nrce",
    "AUL": "aul",
    "AGCE": "agce",
    "AMSE": "amse",
    "NCE+MAE": "nce+mae",
    "NCE+RCE": "nce+rce",
    "NFL+MAE": "nfl+mae",
    "NFL+RCE": "nfl+rce",
    "NCE+AUL": "nce+aul",
    "NCE+AGCE": "nce+agce",
    "NCE+AEL": "nce+ael",
    "AGCE+MAE": "agce+mae",
    "ANL-CE": "anl_ce",
    "ANL-FL": "anl_fl",
    "JAL-CE": "jal_ce",
    "JAL-FL": "jal_fl",
    "CE+LC": "logit_clip",
    "CE_eps+MAE": "eps_softmax(ce)+mae",
    "FL_eps+MAE": "eps_softmax(fl)+mae",
    "LDR-KL": "ldr_kl",
    "Peer-Loss": "peer",
    "CE+grad-clipping": "ce",
    "PHuber-CE": "phuber_ce",
    "Linear": "mae",
}
"""Method name up to the first parenthesis or space -> an expression with the same terms."""

NO_LOSS = {
    "trains in two phases: negative learning, then positive learning": ("NLNL",),
    "clips gradients through a loss that is not based on cross entropy": ("PHuber-GCE tau=10",),
    "a modified loss; the table does not state the modification": (
        "AGCE-shift", "AGCE-rescale", "MAE-shift", "MAE-rescale",
        "Negative-LS",
        "F-Div",
        "IDO",
    ),
    "estimates a transition matrix": ("Forward-T", "T-Revision", "VolMinNet"),
    "selects or relabels examples, trains two networks, or is semi-supervised": (
        "Co-teaching", "Co-teaching+", "JoCoR", "DivideMix", "CORES*", "CAL", "PES(semi)", "Proto-semi",
        "CE_eps+MAE(Semi)",
    ),
    "keeps state per example": ("ELR", "ELR+", "SOP", "SOP+"),
}  # fmt: skip
"""Reason why published methods cannot be expressed as a loss of this library -> the methods."""

_SETS = {"CIFAR-10": "cifar10", "CIFAR-10N": "cifar10", "CIFAR-100": "cifar100", "CIFAR-100N": "cifar100"}
_OTHER_SETS = {"WebVision-mini top1": "webvision", "ILSVRC12(from WebVision-mini) top1": "webvision"}
_PRESET_SETS = {**_SETS, **_OTHER_SETS, "Clothing1M": "clothing1m", "MNIST": "mnist"}

_ALWAYS = {
    "CE": "ce",
    "NCE": "nce",
    "CE+grad-clipping": "ce",
    "Linear(unhinged on softmax = MAE/2)": "0.5*mae",
    "PHuber-CE tau=2": "phuber_ce(tau=2)",
    "PHuber-CE tau=10": "phuber_ce(tau=10)",
    "PHuber-CE tau=50": "phuber_ce(tau=50)",
    **{f"GCE(q={q})": f"gce(q={q})" for q in ("0.3", "0.5", "0.7", "0.9")},
}
"""Methods whose names determine all constants."""

_EVERYWHERE = {"MAE": "mae", "GCE": "gce", "FL": "fl@ma2020", "AUL": "aul", "AGCE": "agce"}
"""Losses with the same constants for CIFAR-10 and CIFAR-100 in the code of Wang et al. 2024."""

_NOTES = {
    "LDR-KL": "their code first divides softplus of the logits by its mean",
    "CE+grad-clipping": "gradient clipping",
}
_LDR = {"cifar10": "ldr_kl(c=0.1,lam=10)", "cifar100": "ldr_kl(c=0.1,lam=1)", "clothing1m": "ldr_kl(c=0.1)"}


@dataclass(frozen=True)
class PublishedMethod:
    """A published method as a loss of this library.

    Args:
        expression: canonical, with the constants of the source; None if they are unknown.
        shape: its terms without constants.
        note: what the method adds to the loss, or how the source's code differs.
    """

    expression: str | None
    shape: tuple[tuple[str, tuple[str, ...]], ...]
    note: str = ""


@cache
def shape_of(expression: str) -> tuple[tuple[str, tuple[str, ...]], ...] | None:
    """Return the names of a loss's terms and wrappers, without constants; None if it cannot be read.

    User code is not imported: the expression may come from an untrusted run folder.

    >>> shape_of("nce + 4*agce(a=6,q=1.5)") == shape_of("agce+nce")
    True
    """
    try:
        terms = canonical(read_terms(expression, unresolved_row))
    except InputError:  # of an unknown script, for example
        return None
    return tuple(sorted((term.name, tuple(wrap.row.name for wrap in term.wraps)) for term in terms))


def published_method(row: Published) -> PublishedMethod | None:
    """Return a published row's method as a loss of this library, or None if it is not a loss.

    Raises:
        InputError: the method is neither in `SHAPES` nor in `NO_LOSS`.
    """
    if any(row.method in methods for methods in NO_LOSS.values()):
        return None
    name = row.method if row.method in SHAPES else re.split(r"[( ]", row.method, maxsplit=1)[0]
    if name not in SHAPES:
        raise InputError(f"unknown method {row.method!r}; add it to SHAPES or NO_LOSS")
    shape = shape_of(SHAPES[name])
    assert shape is not None
    text, note = _with_constants(row)
    made = _read(text) if text is not None else None
    note = note or _NOTES.get(row.method, "")
    return PublishedMethod(with_ln(made.expression) if made is not None else None, shape, note)


@cache
def _read(text: str) -> Loss | None:
    try:
        return loss(text)
    except InputError:  # constants that no loss of this library accepts
        return None


def _with_constants(row: Published) -> tuple[str | None, str]:
    """Return the expression with the source's constants (None if unknown) and the note of its preset."""
    if row.method in _ALWAYS:
        return _ALWAYS[row.method], ""
    family = row.source.constants
    if family == "paper":
        return SHAPES[row.method], ""  # our defaults are the paper's
    key = _PRESET_SETS.get(row.dataset)
    if not family or key is None:
        return None, ""
    if family == "wang2024" and (text := _wang2024(row, key)) is not None:
        return text, ""
    name = SHAPES.get(row.method, "")
    if key in PRESETS.get(name, {}):
        return f"{name}@{key}", preset(name, key).note
    return None, ""


def _wang2024(row: Published, key: str) -> str | None:
    """Return the expression of config.py in their code, for methods without a preset of that name."""
    method, rate = row.method, row.rate or 0.0
    cifar = key in ("cifar10", "cifar100")
    if method in _EVERYWHERE and cifar:
        return _EVERYWHERE[method]
    if method == "NCE+MAE" and cifar:  # its MAE is 2 (1 - p), unlike Ma et al. 2020's
        return "nce+mae" if key == "cifar10" else "10*nce+0.1*mae"
    if method == "LDR-KL":
        return _LDR.get(key)
    if method == "CE+LC" and key == "cifar10" and row.noise_type in ("clean", "symmetric") and rate < 0.5:
        return "logit_clip@cifar10_sym"  # with other thresholds, their code clips to a different norm
    if method in ("CE_eps+MAE", "FL_eps+MAE"):
        text = _eps_softmax(row, key, rate)
        # their eps-softmax of the focal loss has gamma 0.1, detached as in all their focal losses
        return (
            text if text is None or method[:2] == "CE" else text.replace("(ce,", "(fl(gamma=0.1,detach=1),")
        )
    return None


def _eps_softmax(row: Published, key: str, rate: float) -> str | None:
    """Return eps-softmax's CE + MAE with the constants for a noise; clean labels count as symmetric noise."""
    if key == "cifar100" and row.noise_type == "clean":
        return "0.1*eps_softmax(ce,m=1e4)+mae"
    kind = {"clean": "sym", "symmetric": "sym", "asymmetric": "asym", "instance-dependent": "instance"}.get(
        row.noise_type, ""
    )
    if key == "cifar100" and kind == "instance":
        kind = "sym"  # their code uses the constants of symmetric noise at the same rate
    percent = f"{round(100 * rate)}"
    options = [key, f"{key}_{kind}", f"{key}_{kind}{percent}"]
    found = next((option for option in options if option in PRESETS["eps_softmax"]), None)
    return preset("eps_softmax", found).expression if found else None
