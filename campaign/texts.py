"""Generators of what users type: loss expressions, noise specs, recipes, studies, flags."""

from __future__ import annotations

import json
from typing import Any

from campaign.cases import Case, Place, generator
from campaign.draw import ODD_NUMBERS, Draw

PARAMETERS = ("q", "A", "alpha", "beta", "gamma", "tau", "t", "a", "ignore_index", "weight", "x")


def expression(draw: Draw, depth: int = 0) -> str:
    """Return a loss expression of the grammar; names and parameters are right more often than not."""
    from noisylabels.losses import LOSSES, PRESETS

    way = draw.random()
    if depth < 3 and way < 0.1:
        inner = expression(draw, depth + 1)
        name = draw.often(
            lambda: "logit_clip", lambda: draw.choice(("normalize", "negative", "nonsense")), 0.8
        )
        more = draw.choice(("", "", ", tau=2", f", tau={number(draw)}", ", norm=1"))
        return f"{name}({inner}{more})"
    if depth < 3 and way < 0.4:
        parts = [expression(draw, depth + 1) for _ in range(draw.randint(2, 4))]
        return draw.often(lambda: "+", lambda: draw.choice((" + ", "  +", "-", "*"))).join(parts)
    row = LOSSES[draw.choice(sorted(LOSSES))]
    text = draw.often(
        lambda: row.name, lambda: draw.choice((row.name.upper(), f"normalize({row.name})", f"n{row.name}"))
    )
    if draw.chance(0.06):
        name = draw.choice(sorted(PRESETS))
        return f"{name}@{draw.choice(sorted(PRESETS[name]))}"
    if row.defaults and draw.chance(0.4):
        names = draw.some(sorted(row.defaults))
        if draw.chance(0.1):
            names.append(draw.choice(PARAMETERS))
        usual = {name: f"{value * draw.uniform(0.5, 1):.3g}" for name, value in row.defaults.items()}
        text += "(" + ", ".join(f"{name}={usual.get(name) or number(draw)}" for name in names) + ")"
    if draw.chance(0.3):
        text = f"{number(draw)}{draw.often(lambda: '*', lambda: draw.choice(('**', ' ', '/')), 0.95)}{text}"
    return f"({text})" if draw.chance(0.05) else text


def number(draw: Draw) -> str:
    """Return a number in an expression, rarely an odd one."""
    return draw.often(lambda: f"{draw.uniform(0.1, 3):.2g}", lambda: str(draw.choice(ODD_NUMBERS)), 0.95)


def spoiled(draw: Draw, text: str) -> str:
    """Return a text with a few characters replaced, repeated, removed or inserted."""
    for _ in range(draw.randint(1, 3)):
        at = draw.randint(0, len(text))
        inserted = draw.choice(
            ("", draw.odd_text(), draw.choice("()+*,=@:|.'\"~-^[]{}#\\\n"), "(" * 300, "-" * 2000)
        )
        text = text[:at] + inserted + text[at + draw.randint(0, 3) :]
    return typed(text)


def typed(text: str) -> str:
    """Return a text that can be a word of a command line: without the null character, and no flag."""
    return text.replace("\0", "").lstrip("-")


@generator("loss expression", 3)
def loss(draw: Draw, place: Place) -> Case:
    """Explain one or two losses."""
    words = [expression(draw) for _ in range(draw.choice((1, 1, 2)))]
    if draw.chance(0.35):
        words[0] = spoiled(draw, words[0])
    flags = ["--classes", draw.choice(("2", "3", "100", "1000"))] if draw.chance(0.4) else []
    if draw.chance(0.05):
        flags = ["--classes", draw.choice(("1", "0", "-2", "1e3", "100000000000"))]
    return Case(["loss", *words, *flags])


MAPS = ("cifar10", "cifar100", "mnist", "digits", "next", "3to5", "0to1", "9to9", "0to99", "")
KINDS = {
    "symmetric": ("exact", "uniform"),
    "asymmetric": ("sequential", *MAPS),
    "pairflip": (),
    "longtail": ("step",),
    "instance": ("parts",),
    "projection": (),
    "none": (),
    "openset": ("digits", "exact"),
    "clean": (),
}


def noise_spec(draw: Draw) -> str:
    """Return a noise spec of one to three stages, valid more often than not."""
    stages = []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        kind = draw.choice(("symmetric", "symmetric", *KINDS))
        rate = draw.often(lambda: f"{draw.uniform(0, 0.9):.2f}", lambda: number(draw))
        text = kind if kind in ("none", "clean") else f"{kind}:{rate}"
        if KINDS[kind] and draw.chance(0.4):
            text += "@" + ",".join(draw.choice(KINDS[kind]) for _ in range(draw.choice((1, 1, 2))))
        stages.append(text)
    return draw.choice((" | ", "|")).join(stages)


@generator("noise spec", 3)
def noise(draw: Draw, place: Place) -> Case:
    """Add noise to the digits."""
    spec = noise_spec(draw) if draw.chance(0.7) else spoiled(draw, noise_spec(draw))
    out = ["--out", "noise.parquet"] if draw.chance(0.3) else []
    return Case(
        ["noise", spec, "--seed", str(draw.choice((0, 1, 2**31, 2**63, -1))), *out], written=["noise.parquet"]
    )


SETTINGS: dict[str, tuple[Any, ...]] = {
    "noise": ("none", "symmetric:0.4", "asymmetric:0.2", "pairflip:0.3"),
    "loss": ("ce", "nce+mae", "auto", "gce", "2*nce+rce"),
    "optimizer": ("sgd", "adamw", "adam"),
    "lr": (0.01, 0.1, 1e-9, 1e30),
    "momentum": (0.0, 0.9),
    "weight_decay": (0.0, 1e-4, 1e9),
    "l1": (0.0, 1e-5),
    "schedule": ("cosine", "constant", "onecycle"),
    "warmup_epochs": (0.0, 0.5, 1.0),
    "clip": (0.0, 1.0),
    "precision": ("float32", "bfloat16", "float16"),
    "validation": (0.0, 0.1, 0.9),
    "keep_epoch": ("last", "best"),
    "ema": (0.0, 0.9),
    "seed": (0, 1, 2**40),
    "batch_size": (128, 64, 1000, 10**9),
    "train_share": (1.0, 0.1, 0.01),
    "augment": ("auto", "none", "flip", "crop:4", "crop:4+flip"),
    "features": ("none",),
    "channels_last": (True, False),
}


def settings(draw: Draw) -> dict[str, Any]:
    """Return settings of a run that takes a fraction of a second."""
    chosen = {key: draw.choice(SETTINGS[key]) for key in draw.sample(sorted(SETTINGS), draw.randint(0, 5))}
    return {"data": "digits", "model": "mlp", "width": 0.1, "epochs": 1, **chosen}


def toml(table: Any) -> str:
    """Return a tree as TOML: plain values first, then tables and arrays of tables."""
    if not isinstance(table, dict):
        return f"x = {toml_value(table)}\n"
    plain = {k: v for k, v in table.items() if not isinstance(v, dict) and not _tables(v)}
    lines = [f"{key(k)} = {toml_value(v)}" for k, v in plain.items()]
    for name, value in table.items():
        if isinstance(value, dict):
            lines += [f"[{key(name)}]", *(f"{key(k)} = {toml_value(v)}" for k, v in value.items())]
        elif _tables(value):
            for row in value:
                lines += [f"[[{key(name)}]]", *(f"{key(k)} = {toml_value(v)}" for k, v in row.items())]
    return "\n".join(lines) + "\n"


def _tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def key(name: Any) -> str:
    """Return a key of TOML."""
    return name if str(name).isidentifier() and str(name).isascii() else toml_value(str(name))


def toml_value(value: Any) -> str:
    """Return a value of TOML; None has none there and becomes an empty text."""
    if isinstance(value, dict):
        if isinstance(value.get("$deep"), int):
            return "[" * value["$deep"] + "]" * value["$deep"]
        if isinstance(value.get("$digits"), int):
            return "9" * value["$digits"]
        return "{" + ", ".join(f"{key(k)} = {toml_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, str) or value is None:
        return json.dumps(value or "").replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, (bool, float)) else str(value)


def to_json(tree: Any) -> str:
    """Return a tree as JSON; {"$deep": n} becomes n nested lists, {"$digits": n} an integer of n digits."""
    import re

    text = json.dumps(tree)
    text = re.sub(r'\{"\$deep": (\d+)\}', lambda found: "[" * int(found[1]) + "]" * int(found[1]), text)
    return re.sub(r'\{"\$digits": (\d+)\}', lambda found: "9" * int(found[1]), text)


@generator("recipe", 2)
def recipe(draw: Draw, place: Place) -> Case:
    """Train with a recipe file."""
    table: Any = settings(draw)
    if draw.chance(0.6):
        table = draw.altered(table)
    content = toml(table).encode("utf-8", "surrogatepass")
    if draw.chance(0.15):
        content = draw.damaged(content)
    (place.inside / "recipe.toml").write_bytes(content)
    return Case(["train", "recipe.toml", "--epochs", "1", "--out", "run"])


def study_table(draw: Draw) -> dict[str, Any]:
    """Return the TOML tree of a study of a few cells."""
    axes: dict[str, Any] = {"loss": draw.some(["ce", "mae", "nce+mae"], 1)}
    if draw.chance(0.5):
        axes["seed"] = draw.some([1, 2, 3], 1)
    if draw.chance(0.4):
        axes["noise"] = draw.some(["none", "symmetric:0.2", "symmetric:0.8"], 1)
    table: dict[str, Any] = {"title": "a study", "fixed": settings(draw), "axes": axes}
    if draw.chance(0.3):
        table["exclude"] = [{"loss": "m*"}]
    if draw.chance(0.3):
        table["override"] = [{"when": {"loss": "ce"}, "set": {"lr": 0.05}}]
    table["fixed"] = {k: v for k, v in table["fixed"].items() if k not in axes}
    return table


@generator("study", 1.5)
def study(draw: Draw, place: Place) -> Case:
    """Run a study file in this process, or a part of it."""
    table: Any = study_table(draw)
    if draw.chance(0.6):
        table = draw.altered(table)
    content = toml(table).encode("utf-8", "surrogatepass")
    (place.inside / "study.toml").write_bytes(draw.damaged(content) if draw.chance(0.1) else content)
    flags = ["--set", "epochs=1"]
    if draw.chance(0.3):
        flags += [typed(f"{draw.choice(sorted(SETTINGS))}={draw.choice((1, 0.5, draw.odd_text()))}")]
    if draw.chance(0.3):
        flags += [
            "--only",
            draw.choice(("loss=ce", "loss=m*", "seed=1", "noise=symmetric:*", "x=1", "loss=", "=")),
        ]
    if draw.chance(0.2):
        flags += ["--shard", draw.choice(("1/2", "2/2", "3/2", "0/1", "1/0", "x", "1/99999999999999999999"))]
    if draw.chance(0.2):
        flags += ["--time-budget", draw.choice(("9m", "1h30m", "0s", "-1s", "1e9h", "9", "m"))]
    return Case(["study", "run", "study.toml", "--jobs", "0", "--out", "study", *flags])


FLAGS = (
    "epochs",
    "lr",
    "batch-size",
    "width",
    "noise",
    "loss",
    "model",
    "seed",
    "validation",
    "image-size",
    "device",
    "precision",
    "features",
    "label-column",
    "text-column",
    "augment",
    "optimizer",
    "schedule",
    "ema",
    "clip",
    "labels",
)


@generator("flags", 1)
def flags(draw: Draw, place: Place) -> Case:
    """Train with flags whose values are odd."""
    words = ["train", "--data", "digits", "--model", "mlp", "--width", "0.1", "--epochs", "1", "--out", "run"]
    for flag in draw.sample(FLAGS, draw.randint(1, 3)):
        usual = SETTINGS.get(flag.replace("-", "_"), (1, 2, 28))
        value = str(draw.choice(usual))
        if flag.endswith("column") or draw.chance(0.4):
            value = draw.often(draw.odd_text, lambda: str(draw.choice(ODD_NUMBERS)), 0.6).replace("\0", "")
        words += [f"--{flag}={value}"] if draw.chance(0.7) else [f"--{flag}", value]
    return Case(words)
