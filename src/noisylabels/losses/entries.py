"""The catalog of losses: one row per loss, with its source, its use and the limits of its parameters."""

from __future__ import annotations

from collections.abc import Mapping

from noisylabels.losses import pointwise, vectorwise, wrappers
from noisylabels.losses.catalog import LOSSES, Named, Wrapper, register, register_wrapper
from noisylabels.losses.kernels import slopes

# Limits keep every value, and its gradient, finite in float32, in all three forms.
_SHARE = {"low": 1e-6, "high": 1.0}
_LOG_ZERO = {"low": -1e6, "high": -1e-6}
_WEIGHT = {"low": 1e-12, "high": 1.0, "open_high": True}

register(
    "ce",
    pointwise.ce,
    sloped=slopes.ce,
    source="maximum likelihood",
    use="The baseline: the best fit to clean labels, but it memorizes noisy ones.",
)
register(
    "fl",
    pointwise.fl,
    sloped=slopes.fl,
    source="Lin et al. 2017",
    use="Gives easy examples less weight; made for class imbalance, not for label noise. detach=1 stops the "
    "gradient through the modulating factor, as the code of Ma et al. 2020 does.",
    domain={"gamma": {"low": 0.0, "high": 100.0}, "detach": {"low": 0.0, "high": 1.0, "whole": True}},
)
register(
    "mae",
    pointwise.mae,
    sloped=slopes.mae,
    kind="passive",
    source="Ghosh et al. 2017",
    use="Provably noise-tolerant, but slow to fit and prone to losing whole classes.",
    label_sum=lambda K: 2.0 * (K - 1),
)
register(
    "rce",
    pointwise.rce,
    sloped=slopes.rce,
    kind="passive",
    source="Wang et al. 2019, with log 0 = A",
    use="MAE times -A/2. Use it as the passive term beside an active loss.",
    domain={"A": _LOG_ZERO},
    label_sum=lambda K, A: -A * (K - 1),
    multiple_of=("mae", lambda A: -A / 2),
)
register(
    "gce",
    pointwise.gce,
    sloped=slopes.gce,
    source="Zhang and Sabuncu 2018, Eq. 6",
    use="Ranges from cross entropy (q to 0) to half the MAE (q = 1), with one parameter to tune.",
    domain={"q": {"low": 1e-8, "high": 1.0}},
    label_sum=lambda K, q: K - 1.0 if q == 1 else None,
)
register(
    "taylor_ce",
    pointwise.taylor_ce,
    sloped=slopes.taylor_ce,
    title="Taylor cross entropy",
    source="Feng et al. 2020",
    use="Ranges from half the MAE (t = 1) to cross entropy (t to infinity); t is an integer.",
    domain={"t": {"low": 1.0, "high": 100.0, "whole": True}},
    label_sum=lambda K, t: K - 1.0 if t == 1 else None,
)
register(
    "phuber_ce",
    pointwise.phuber_ce,
    sloped=slopes.phuber_ce,
    source="Menon et al. 2020; tau 2 for CIFAR-10, 10 for MNIST and CIFAR-100",
    use="Cross entropy with a bounded gradient where the predicted probability of the label is low.",
    domain={"tau": {"low": 1.0, "open_low": True, "high": 1e30}},
)
register(
    "agce",
    pointwise.agce,
    sloped=slopes.agce,
    source="Zhou et al. 2021",
    use="Robust where the true label is dominant; designed to fit better than a symmetric loss.",
    domain={"a": {"low": 1e-12, "high": 100.0}, "q": {"low": 1e-6, "high": 10.0}},
    label_sum=lambda K, a, q: K - 1.0 if q == 1 else None,
)
register(
    "aul",
    pointwise.aul,
    sloped=slopes.aul,
    source="Zhou et al. 2021 (its q is the paper's p)",
    use="Robust where the true label is dominant; designed to fit better than a symmetric loss.",
    domain={"a": {"low": 1.001, "high": 100.0}, "q": {"low": 1e-6, "high": 10.0}},
    label_sum=lambda K, a, q: K - 1.0 if q == 1 else None,
)
register(
    "ael",
    pointwise.ael,
    sloped=slopes.ael,
    source="Zhou et al. 2021",
    use="Robust where the true label is dominant; has a single parameter.",
    domain={"a": {"low": 0.01, "high": 100.0}},
)
register(
    "js",
    pointwise.js,
    sloped=slopes.js,
    title="Jensen-Shannon divergence",
    source="Englesson and Azizpour 2021, scaled as there; w is the weight of the label",
    use="Ranges from cross entropy (w to 0) to half the MAE (w to 1), and is always bounded.",
    domain={"w": _WEIGHT},
)
register(
    "poly1",
    pointwise.poly1,
    sloped=slopes.poly1,
    title="Poly-1 cross entropy",
    source="Leng et al. 2022, Eq. 5; epsilon 2 is theirs for ImageNet",
    use="Cross entropy with a separate weight on its linear term in 1-p, the MAE; epsilon = -1 removes it.",
    domain={"epsilon": {"low": -1.0, "high": 1e6}},
)
register(
    "mse",
    vectorwise.mse,
    kind="passive",
    source="Brier 1950; under label noise: Ghosh et al. 2017. Code that averages over classes divides by K",
    use="Bounded; like cross entropy, it is optimal where p equals the label frequencies.",
    pointwise=False,
)
register(
    "tgce",
    vectorwise.tgce,
    source="Zhang and Sabuncu 2018, Eq. 8, without pruning: no gradient where p_y is below k",
    use="Use after some epochs of gce or ce: it trains only on labels that the network already finds likely.",
    domain={"q": {"low": 1e-8, "high": 1.0}, "k": {"low": 1e-3, "high": 0.99}},
    pointwise=False,
)
register(
    "blurry",
    vectorwise.blurry,
    source="Pellegrino et al. 2025; formula and gamma of 0.1 to 0.6 from their code, which clamps p to 1e-8",
    use="To find label errors. It lowers p_y where p_y < e^(-1/gamma): start from a trained model.",
    domain={"gamma": {"low": 0.0, "high": 100.0}, "detach": {"low": 0.0, "high": 1.0, "whole": True}},
    pointwise=False,
)
register(
    "piecewise_zero",
    vectorwise.piecewise_zero,
    source="Pellegrino et al. 2025; formula and c of 0.005 to 0.2 from their code",
    use="To find label errors. Even predictions have no gradient if c > 1/K: start from a trained model.",
    domain={"c": {"low": 1e-6, "high": 0.99}},
    pointwise=False,
)
register(
    "unhinged",
    vectorwise.unhinged,
    kind="passive",
    source="Lemire Paquin et al. 2026 (abstract, and a summary with the formula; the paper was not read)",
    use="Symmetric and convex, but unbounded below: logits grow unless normalized: logit_norm(unhinged).",
    label_sum=lambda K: 0.0,
    of_logits=True,
)
register(
    "sgce",
    vectorwise.sgce,
    kind="passive",
    source="Lemire Paquin et al. 2026: gce less its mean over the labels (abstract; the paper was not read; "
    "q = 0.7 is that of gce)",
    use="Ranges from the unhinged loss (q to 0) to half the MAE (q = 1), and is symmetric for every q.",
    domain={"q": {"low": 1e-8, "high": 1.0}},
    label_sum=lambda K, q: 0.0,
    pointwise=False,
)
register(
    "nl",
    vectorwise.nl,
    kind="passive",
    source="Kim et al. 2019, NLNL. Their code draws one complementary label at a time and clamps 1-p to "
    "1e-5; this is the mean over the draws",
    use="Trains on complementary labels (what an example is not): slow, and unbounded as another p_k grows.",
    pointwise=False,
)
register(
    "ldr_kl",
    vectorwise.ldr_kl,
    title="label-distributionally robust loss",
    source="Zhu et al. 2023, LDR-KL; only their code first divides the softplus of the logits by its mean",
    use="Cross entropy with margin c and temperature lam; a large lam flattens differences between labels.",
    domain={"lam": {"low": 0.1, "high": 1e3}, "c": {"low": 0.0, "high": 1.0}},
    pointwise=False,
)
register(
    "conf_penalty",
    vectorwise.conf_penalty,
    source="Pereyra et al. 2017",
    use="Cross entropy that penalizes confident predictions; for mild noise, like label smoothing.",
    domain={"beta": {"low": 0.0, "high": 10.0}},
    pointwise=False,
)
register(
    "boot_soft",
    vectorwise.boot_soft,
    source="Reed et al. 2015, Eq. 6; the gradient flows through the target, as in a minimum-entropy penalty",
    use="Mixes the predicted probabilities into the label; for mild noise, after some epochs of training.",
    domain={"beta": _SHARE},
    pointwise=False,
)
register(
    "boot_hard",
    vectorwise.boot_hard,
    source="Reed et al. 2015, Eq. 7",
    use="Mixes the predicted class into the label; for mild noise, after some epochs of training.",
    domain={"beta": _SHARE},
    pointwise=False,
)
register(
    "amse",
    vectorwise.amse,
    kind="passive",
    source="Wang et al. 2025, Joint Asymmetric Loss",
    use="The passive term of Joint Asymmetric Loss; asymmetric if a is large enough for the noise rate.",
    domain={"a": {"low": 1.0, "high": 1e6}},
    pointwise=False,
)
register(
    "bi_tempered",
    vectorwise.bi_tempered,
    source="Amid et al. 2019, Eq. 4 to 6, which give no defaults",
    use="Bounded for t1 < 1 (distant outliers), heavy-tailed for t2 > 1 (noisy labels near the boundary).",
    domain={"t1": {"low": 0.0, "high": 1.0}, "t2": {"low": 0.1, "high": 10.0}},
    pointwise=False,
)
register(
    "gjs",
    vectorwise.gjs,
    source="Englesson and Azizpour 2021, Eq. 3 and 5; w is the weight of the label",
    use="Also makes predictions for two augmentations of an image agree; pass both: (logits_1, logits_2).",
    domain={"w": _WEIGHT},
    views=True,
)
register(
    "nrce_ma2020",
    vectorwise.nrce_ma2020,
    kind="passive",
    source="Ma et al. 2020, loss.py, an operator-precedence bug: their text divides by 4 (K-1)",
    use="Only to reproduce results of that code; otherwise use nrce.",
    domain={"A": _LOG_ZERO},
    label_sum=lambda K, A: -A * (K - 1) ** 2 / 4,
    pointwise=False,
)

register_wrapper(
    Wrapper(
        "ls",
        wrappers.ls,
        "label smoothing",
        "the label e_y becomes (1-r) e_y + r/K",
        "Szegedy et al. 2016; r < 0: Wei et al. 2022, negative label smoothing",
        "Use r > 0 at low noise rates, r < 0 at high ones (then it is unbounded below).",
        {"r": {"low": -100.0, "high": 1.0, "open_high": True}},
        of="label",
        evens=True,
    )
)
register_wrapper(
    Wrapper(
        "peer",
        wrappers.peer,
        "peer loss",
        "the label e_y becomes e_y - alpha π,  π the share of each label in the batch",
        "Liu and Guo 2020; Cheng et al. 2021. Their code draws random peers; this is the mean over the draws",
        "Penalizes blind agreement with the labels. Unbounded below: start from a trained model and raise "
        "alpha slowly.",
        {"alpha": {"low": 0.0, "high": 1e3}},
        of="label",
        batch=True,
    )
)
register_wrapper(
    Wrapper(
        "eps_softmax",
        wrappers.eps_softmax,
        "epsilon-softmax",
        "p becomes (p + m onehot(argmax p))/(1+m), clamped to floor or more, renormalized",
        "Wang et al. 2024; the floor is that of their code and stops the gradient where p_y < floor (1+m). "
        "This version renormalizes p afterwards, theirs does not: a difference of at most K floor",
        "Symmetric in the limit of large m. Its authors add mae: see the constants from the literature.",
        {"m": {"low": 0.0, "high": 1e12}, "floor": {"low": 0.0, "high": 1e-6}},
        of="logits",
    )
)
register_wrapper(
    Wrapper(
        "logit_clip",
        wrappers.logit_clip,
        "LogitClip",
        "z becomes z min(1, tau/|z|_2)",
        "Wei et al. 2023, as in their text; their code clips norms above temp to 1/temp",
        "Bounds any loss, including cross entropy, by bounding the norm of the logits.",
        {"tau": {"low": 1e-6, "high": 1e6}},
        of="logits",
    )
)
register_wrapper(
    Wrapper(
        "logit_norm",
        wrappers.logit_norm,
        "LogitNorm",
        "z becomes z/(tau |z|_2)",
        "Wei et al. 2022, for out-of-distribution detection; tau 0.04 is theirs for CIFAR-10. This version "
        "clamps norms to 1e-3 or more; theirs adds 1e-7",
        "Removes the norm of the logits from the loss, so that growing confidence cannot lower it.",
        {"tau": {"low": 0.01, "high": 100.0}},
        of="logits",
    )
)
register_wrapper(
    Wrapper(
        "temper",
        wrappers.temper,
        "temperature",
        "z becomes z/T",
        "Hinton et al. 2015",
        "T > 1 flattens the softmax inside the loss; T < 1 sharpens it.",
        {"T": {"low": 0.01, "high": 100.0}},
        of="logits",
    )
)

_APL = "Ma et al. 2020, Active Passive Loss (the paper's Eq. 2)"
_APL_USE = "Active Passive Loss: noise-tolerant, and it still fits the data. Try it first on noisy labels."
_ALF = "Zhou et al. 2021; write @cifar10 and the like for their constants"
_ALF_USE = (
    "Robust where the true label is dominant; meant for high noise rates, with the constants of its authors "
    "(Zhou et al. 2021)."
)
_ANL = "Ye et al. 2023, Active Negative Loss, which they train with an L1 penalty in place of weight decay"
_JAL = "Wang et al. 2025, Joint Asymmetric Loss; a = 30 is theirs for CIFAR-10"


def _named(
    name: str, template: str, title: str, source: str, use: str, defaults: Mapping[str, float] | None = None
) -> None:
    LOSSES.add(name, Named(name, template, title, source, use, defaults or {}))


for _active in ("nce", "nfl"):
    for _passive in ("mae", "rce"):
        _name = f"{_active}+{_passive}"
        _named(_name, _name, f"{LOSSES[_active].title} + {LOSSES[_passive].title}", _APL, _APL_USE)
for _passive in ("mae", "rce"):
    _name = f"ngce+{_passive}"
    _named(_name, _name, f"{LOSSES['ngce'].title} + {LOSSES[_passive].title}", _APL, _APL_USE)
_named(
    "sce",
    "alpha*ce + beta*rce(A=A)",
    "symmetric cross entropy",
    "Wang et al. 2019; alpha and beta are theirs for CIFAR-10, A = -4.0 as in the study",
    "Cross entropy fits the data, reverse cross entropy adds noise tolerance; alpha sets the balance.",
    {"alpha": 0.1, "beta": 1.0, "A": -4.0},
)
_GAMMA: tuple[tuple[str, str, dict[str, float]], ...] = (
    ("ce", "", {}),
    ("fl", "(gamma=gamma)", {"gamma": 0.5}),
)
for _half, _with, _given in _GAMMA:
    _named(
        f"anl_{_half}",
        f"alpha*n{_half}{_with} + beta*nn{_half}{_with}",
        f"active negative loss of {LOSSES[_half].title}",
        _ANL,
        "A normalized loss plus its negative form: noise-tolerant, made to fit better than a sum with MAE.",
        {"alpha": 5.0, "beta": 5.0, **_given},
    )
for _active in ("nce", "nfl"):
    for _passive in ("agce", "aul", "ael"):
        _name = f"{_active}+{_passive}"
        _named(_name, _name, f"{LOSSES[_active].title} + {LOSSES[_passive].title}", _ALF, _ALF_USE)
for _half, _with, _given in _GAMMA:
    _named(
        f"jal_{_half}",
        f"alpha*n{_half}{_with} + beta*amse(a=a)",
        f"joint asymmetric loss of {LOSSES['n' + _half].title}",
        _JAL,
        "An active and an asymmetric passive loss; use a large a for high noise rates (Wang et al. 2025).",
        {"alpha": 1.0, "beta": 1.0, "a": 30.0, **_given},
    )

PAPER = ("ce", "fl", "mae", "rce", "nce", "nfl", "nmae", "nrce", "nce+mae", "nce+rce", "nfl+mae", "nfl+rce")
"""The 12 losses of the paper's Tables 1 and 2, in its order."""
