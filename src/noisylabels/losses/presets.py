"""Constants from the literature by loss and data set: ``nce+rce@cifar100``, ``nce+rce@ma2020``.

A key names a data set. Where a source has separate constants per noise model, the key ends in it
(``cifar10_sym40``: symmetric, 0.4). Where sources differ on one data set, the later one puts its name first
(``zhou2021_cifar100``).

Published weights refer to the code that used them, where MAE is 1 - p (half of `mae` here) and RCE has
log 0 = ln 1e-4. The expressions here are converted to the units of this library. `note` has any other setting
that the source trains with, such as the L1 penalty of Active Negative Loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from noisylabels.core.checks import InputError, did_you_mean

_RCE = "rce(A=ln(1e-4))"
_APL = "Ma et al. 2020, configurations of their code"
_ALF = "Zhou et al. 2021, config.py of their code"
_ANL = "Ye et al. 2023, config of their code"
_JAL = "Wang et al. 2025, config.py of their code"
_EPS = "Wang et al. 2024, config.py of their code"
_GJS = "Englesson and Azizpour 2021, scripts of their code"


@dataclass(frozen=True)
class Preset:
    """A loss with the constants of one source."""

    expression: str
    source: str
    note: str = ""


def _apl(active: str, a: float, passive: str, b: float, source: str = _APL) -> Preset:
    partner = f"{b}*{_RCE}" if passive == "rce" else f"{b / 2}*mae"
    return Preset(f"{a}*{active} + {partner}", source)


PRESETS: dict[str, dict[str, Preset]] = {}
"""Presets by the name of the loss, then by key."""


def _add(name: str, **presets: Preset) -> None:
    PRESETS.setdefault(name, {}).update(presets)


for _active in ("nce", "nfl(detach=1)"):
    _stem = _active.partition("(")[0]
    _add(
        f"{_stem}+rce",
        mnist=_apl(_active, 1, "rce", 10),
        cifar10=_apl(_active, 1, "rce", 1),
        cifar100=_apl(_active, 10, "rce", 0.1),
        webvision=_apl(_active, 50, "rce", 0.1),
        ma2020=_apl(_active, 1, "rce", 1),
    )
    _add(
        f"{_stem}+mae",
        mnist=_apl(_active, 1, "mae", 10),
        cifar10=_apl(_active, 1, "mae", 1),
        cifar100=_apl(_active, 10, "mae", 1),
        webvision=_apl(_active, 50, "mae", 1),
        ma2020=_apl(_active, 1, "mae", 1),
    )
_add(
    "ngce+mae",
    mnist=_apl("ngce(q=0.1)", 1, "mae", 10),
    cifar10=_apl("ngce(q=0.1)", 1, "mae", 1),
    cifar100=_apl("ngce(q=0.7)", 10, "mae", 1),
)
_add(
    "ngce+rce",
    mnist=_apl("ngce(q=0.1)", 1, "rce", 10),
    cifar10=_apl("ngce(q=0.1)", 1, "rce", 1),
)
_add("mae", ma2020=Preset("0.5*mae", _APL))
_add("rce", ma2020=Preset(_RCE, _APL))
_add("fl", ma2020=Preset("fl(detach=1)", _APL))
_add("nfl", ma2020=Preset("nfl(detach=1)", _APL))
_add("nmae", ma2020=Preset("0.5*nmae", _APL))
_add("nrce", ma2020=Preset("nrce_ma2020", _APL))
_SCE = "Wang et al. 2019, train_models.py; WebVision: Ma et al. 2020"
_add(
    "sce",
    mnist=Preset(f"0.01*ce + {_RCE}", _SCE),
    cifar10=Preset(f"0.1*ce + {_RCE}", _SCE),
    cifar100=Preset(f"6*ce + 0.1*{_RCE}", _SCE),
    webvision=Preset(f"10*ce + {_RCE}", _SCE),
)
for _name, _ce in (("anl_ce", "ce"), ("anl_fl", "fl(detach=1)")):
    _add(
        _name,
        mnist=Preset(f"n{_ce} + nn{_ce}", _ANL, "L1 1e-6, no weight decay"),
        cifar10=Preset(f"5*n{_ce} + 5*nn{_ce}", _ANL, "L1 5e-5, no weight decay"),
        cifar100=Preset(f"10*n{_ce} + nn{_ce}", _ANL, "L1 5e-7, no weight decay"),
    )
_add("anl_ce", webvision=Preset("20*nce + nnce", _ANL, "L1 5e-6, no weight decay"))
_add(
    "agce", mnist=Preset("agce(a=4,q=0.2)", _ALF), cifar10=Preset("agce", _ALF), cifar100=Preset("agce", _ALF)
)
_add("aul", mnist=Preset("aul(a=3,q=0.1)", _ALF), cifar10=Preset("aul", _ALF), cifar100=Preset("aul", _ALF))
_add("ael", mnist=Preset("ael(a=3.5)", _ALF), cifar10=Preset("ael", _ALF), cifar100=Preset("ael", _ALF))
_add(
    "nce+agce",
    cifar10=Preset("nce + 4*agce(a=6,q=1.5)", _ALF),
    cifar100=Preset("10*nce + 0.1*agce(a=1.8,q=3)", _ALF),
    webvision=Preset("50*nce + 0.1*agce(a=2.5,q=3)", _ALF),
)
_add(
    "nce+aul",
    cifar10=Preset("nce + 4*aul(a=6.3,q=1.5)", _ALF),
    cifar100=Preset("10*nce + 0.015*aul(a=6,q=3)", _ALF),
)
_add(
    "nce+ael",
    cifar10=Preset("nce + 4*ael(a=5)", _ALF),
    cifar100=Preset("10*nce + 0.1*ael(a=1.5)", _ALF),
)
for _name, _active in (("jal_ce", "nce"), ("jal_fl", "nfl(detach=1)")):
    _add(
        _name,
        cifar10=Preset(f"{_active} + amse(a=30)", _JAL, "L1 5e-5, no weight decay"),
        cifar100=Preset(f"5*{_active} + amse(a=20)", _JAL, "L1 5e-6, no weight decay"),
        webvision=Preset(f"50*{_active} + amse(a=30)", _JAL),
    )
# Where later sources have other constants than Ma 2020 for the same sum
for _name, _active, _passive in (
    ("nce+rce", "nce", "rce"),
    ("nce+mae", "nce", "mae"),
    ("nfl+rce", "nfl(detach=1)", "rce"),
):
    _add(_name, zhou2021_mnist=_apl(_active, 1, _passive, 100, _ALF))
    if _passive == "rce":
        _add(_name, zhou2021_cifar100=_apl(_active, 10, _passive, 1, _ALF))
_add("nce+mae", ye2023_cifar100=_apl("nce", 10, "mae", 0.1, _ANL))

_add("gce", webvision=Preset("gce", _ANL), clothing1m=Preset("gce(q=0.6)", _JAL))
for _set in ("webvision", "clothing1m"):
    _add("agce", **{_set: Preset("agce(a=1e-5,q=0.5)", _JAL)})
_add("anl_fl", webvision=Preset("20*nfl(detach=1) + nnfl(detach=1)", _JAL, "weight decay 3e-5"))
_CLOTHING = "weight decay 1e-3"
_add("sce", clothing1m=Preset(f"10*ce + {_RCE}", _JAL, _CLOTHING))
_add("nce+rce", clothing1m=Preset(f"10*nce + {_RCE}", _JAL, _CLOTHING))
_add("nce+agce", clothing1m=Preset("50*nce + 0.1*agce(a=2.5,q=3)", _JAL, _CLOTHING))
for _half, _active in (("ce", "ce"), ("fl", "fl(detach=1)")):
    _negative = Preset(f"5*n{_active} + 0.1*nn{_active}", _JAL, f"{_CLOTHING}; p_min 1e-8 in their code")
    _add(f"anl_{_half}", clothing1m=_negative)
    _add(f"jal_{_half}", clothing1m=Preset(f"5*n{_active} + 0.1*amse(a=5)", _JAL, _CLOTHING))


def _eps(alpha: float, beta: float, m: float) -> Preset:
    return Preset(f"{alpha}*eps_softmax(ce,m={m}) + {beta}*mae", _EPS)  # its MAE is 2 (1-p)


_add(
    "eps_softmax",
    cifar10_sym=_eps(0.01, 5, 1e5),
    cifar10_asym=_eps(0.02, 5, 1e3),
    cifar10_instance=_eps(0.045, 10, 1e5),
    cifar100_sym20=_eps(0.05, 1, 1e4),
    cifar100_sym40=_eps(0.03, 1, 1e4),
    cifar100_sym60=_eps(0.00125, 1, 1e4),
    cifar100_sym80=_eps(0.0075, 1, 1e4),
    cifar100_asym10=_eps(0.015, 1, 1e2),
    cifar100_asym20=_eps(0.007, 1, 1e2),
    cifar100_asym30=_eps(0.005, 1, 1e2),
    cifar100_asym40=_eps(0.004, 1, 1e2),
    webvision=_eps(0.015, 0.3, 1e3),
    clothing1m=_eps(0.012, 0.1, 1e3),
)
# their delta is 1/threshold and the norm clipped to, so that only delta = 1 is LogitClip
_add("logit_clip", cifar10_sym=Preset("logit_clip(ce)", _EPS, "for symmetric noise below 0.5"))
_RATES = ("sym20", "sym40", "sym60", "sym80", "asym20", "asym40")
for _name, _set, _weights in (
    ("js", "cifar10", (0.7, 0.7, 0.9, 0.9, 0.3, 0.3)),
    ("js", "cifar100", (0.1, 0.3, 0.5, 0.3, 0.5, 0.5)),
    ("gjs", "cifar10", (0.3, 0.9, 0.1, 0.1, 0.3, 0.3)),
    ("gjs", "cifar100", (0.3, 0.5, 0.9, 0.1, 0.5, 0.1)),
):
    for _rate, _w in zip(_RATES, _weights, strict=True):
        _add(_name, **{f"{_set}_{_rate}": Preset(f"{_name}(w={_w})", _GJS)})
for _name in ("js", "gjs"):
    # without the scale 1/Z there: times Z = -0.9 ln 0.9 here
    _add(_name, webvision=Preset(f"{-0.9 * math.log(0.9)}*{_name}(w=0.1)", _GJS))
_add("phuber_ce", mnist=Preset("phuber_ce(tau=10)", "Menon et al. 2020, by a reproduction (dmizr/phuber)"))
_add("phuber_ce", cifar10=Preset("phuber_ce(tau=2)", "Menon et al. 2020, by a reproduction (dmizr/phuber)"))
_add("phuber_ce", cifar100=Preset("phuber_ce(tau=10)", "Menon et al. 2020, by a reproduction (dmizr/phuber)"))


def with_ln(expression: str) -> str:
    """Return an expression with ``ln(1e-4)`` written out, which parses to the same number."""
    return expression.replace(repr(math.log(1e-4)), "ln(1e-4)")


def preset(name: str, key: str) -> Preset:
    """Return the constants of `key` (a data set, or "ma2020") for the loss called `name`.

    Raises:
        InputError: the loss has no presets, or none with this key; the message lists the valid ones.
    """
    if name not in PRESETS:
        having = ", ".join(PRESETS)
        raise InputError(f"the loss {name!r} has no presets, and {key!r} came; losses with presets: {having}")
    if key not in PRESETS[name]:
        raise InputError(f"the loss {name!r} has no preset {key!r}{did_you_mean(key, PRESETS[name])}")
    return PRESETS[name][key]
