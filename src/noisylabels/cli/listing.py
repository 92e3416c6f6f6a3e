"""``noisylabels list``: list everything that has a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from noisylabels.cli import output


@dataclass
class List:
    """List losses, methods, noise models, data sets, formats, models, encoders, presets, weights or recipes.

    For example:
        noisylabels list losses
    """

    what: Annotated[
        Literal[
            "losses",
            "methods",
            "noise",
            "data",
            "formats",
            "models",
            "encoders",
            "presets",
            "weights",
            "recipes",
            "version",
        ],
        tyro.conf.Positional,
    ]
    """what to list"""

    def run(self) -> int:
        """Print the table."""
        from noisylabels.cli.terminal import console, table
        from noisylabels.cli.version import about

        if self.what == "version":
            for line in about():
                output.say(line)
            return 0
        headers, rows = {
            "losses": _losses,
            "methods": _methods,
            "noise": _noise,
            "data": _data,
            "formats": _formats,
            "models": _models,
            "encoders": _encoders,
            "presets": _presets,
            "weights": _weights,
            "recipes": _recipes,
        }[self.what]()
        console().print(table(headers, rows))
        return 0


def _losses() -> tuple[list[str], list[list[str]]]:
    from noisylabels.losses import LOSSES, loss
    from noisylabels.losses.explain import share

    rows = []
    for row in LOSSES.values():
        made = loss(row.expression)
        low, high = made.bounds(10)
        defaults = ", ".join(f"{k}={v:g}" for k, v in row.defaults.items())
        symmetric = "yes" if made.label_sum(10) is not None else "no"
        times = made.dominance(10)
        mark = " *" if made.unique_optimum(10) is False else ""  # a wrong prediction can have the same loss
        rows.append(
            [
                row.name,
                "; ".join([row.title, *(f"needs {need}" for need in made.needs)]),
                made.kind,
                symmetric,
                ("?" if times is None else share(times)) + mark,
                f"[{low:.3g}, {high:.3g}]",
                defaults,
                row.source,
            ]
        )
    own = ["FILE.py:FUNCTION", "your own loss; also MODULE:FUNCTION (docs/custom-loss.md)"]
    rows.append([*own, "", "", "", "", "", "you"])
    # asymmetric from: how many times as frequent as any other label the true one must be, for probability 1
    # of it to be optimal
    asymmetric = "asymmetric from (*: other optima)"
    headers = ["name", "loss", "kind", "symmetric", asymmetric, "range, K=10", "defaults", "source"]
    return headers, rows


def _methods() -> tuple[list[str], list[list[str]]]:
    from noisylabels.core.parameters import defaults_of
    from noisylabels.methods.catalog import METHODS

    rows = []
    for name, row in METHODS.items():
        defaults = ", ".join(f"{key}={value}" for key, value in defaults_of(row).items())
        inside = "any" if row.own_loss is None else row.own_loss
        rows.append([name, row.title, inside, defaults, ", ".join(row.presets), row.source])
    own = ["FILE.py:CLASS", "your own method; also MODULE:CLASS (docs/methods.md)"]
    rows.append([*own, "", "", "", "you"])
    return ["name", "method", "loss", "parameters", "presets (name@preset)", "source"], rows


def _presets() -> tuple[list[str], list[list[str]]]:
    from noisylabels.losses import PRESETS, loss
    from noisylabels.losses.presets import with_ln

    return ["name", "loss", "used with", "source"], [
        [f"{name}@{key}", with_ln(loss(row.expression).expression), row.note, row.source]
        for name, presets in PRESETS.items()
        for key, row in presets.items()
    ]


def _weights() -> tuple[list[str], list[list[str]]]:
    from noisylabels.losses.varying import AUTO, RULES, SCHEDULES

    rows = []
    for row in [*SCHEDULES.values(), *RULES.values()]:
        required = [name for name, value in row.defaults.items() if value is None]
        given = [
            f"{name}={value:g}".replace("nan", "(estimated)")
            for name, value in row.defaults.items()
            if value is not None
        ]
        head = f"{AUTO}(rule={row.name})" if row.value is None else f"{row.name}({','.join(required)})"
        rows.append([head, row.title, row.equation, ", ".join(given), row.source])
    return ["weight", "what it does", "value, t the training progress", "more parameters", "source"], rows


def _noise() -> tuple[list[str], list[list[str]]]:
    from noisylabels.noise.catalog import KINDS
    from noisylabels.noise.confusion_maps import MAPS

    rows = []
    for kind in KINDS.values():
        needs = f"; needs {kind.needs}" if kind.needs else ""
        rows.append([kind.form, kind.title + needs, kind.equation, kind.default.source])
        for word, convention in kind.conventions.items():
            rows.append([f"  ...@{word}", convention.title, "", convention.source])
        if kind.takes_map:
            rows += [[f"  ...@{name}", one.title, "", one.source] for name, one in MAPS.items()]
    return ["spec", "noise", "equation", "source"], rows


def _data() -> tuple[list[str], list[list[str]]]:
    from noisylabels.data.catalog import DATA

    return ["name", "data set", "how to get it", "license"], [
        [row.name, row.title, row.source, row.license] for row in DATA.values()
    ]


def _formats() -> tuple[list[str], list[list[str]]]:
    from noisylabels.data.formats import FORMATS

    return ["name", "format", "recognized by"], [
        [row.name, row.title, row.layout] for row in FORMATS.values()
    ]


def _models() -> tuple[list[str], list[list[str]]]:
    from noisylabels.models.catalog import MODELS, parameter_count

    rows = [
        [row.name, row.title, f"{parameter_count(row.name):,}", f"{row.smallest}x{row.smallest}", row.source]
        for row in MODELS.values()
    ]
    rows.append(["timm:NAME", "any model of timm; timm:NAME,pretrained loads its weights", "", "", "timm"])
    rows.append(
        ["MODULE:FUNCTION", "your own model; also FILE.py:FUNCTION (docs/custom-model.md)", "", "", "you"]
    )
    return ["name", "model", "parameters, K=10", "smallest image", "source"], rows


def _encoders() -> tuple[list[str], list[list[str]]]:
    from noisylabels.encoders.catalog import ENCODERS, FILES, USER

    rows = [
        ["auto", "a pretrained encoder for photographs and texts if one is installed, else none", "", ""],
        ["none", "the images or columns themselves", "", ""],
    ]
    for row in ENCODERS.values():
        name = f"{row.name}NAME" if row.name.endswith(":") else row.name
        rows.append([name, row.title, row.of, "yes" if row.installed() else row.install])
    rows.append([USER.name, USER.title, USER.of, "yes"])
    rows.append([FILES, "features of these examples, matched by ids (docs/encoders.md)", "any", "yes"])
    return ["name", "encoder", "encodes", "installed"], rows


def _recipes() -> tuple[list[str], list[list[str]]]:
    from noisylabels.core.config import read_toml
    from noisylabels.core.files import read_text
    from noisylabels.experiment import recipes

    rows = []
    for name, path in recipes().items():
        settings = ", ".join(f"{key}={value}" for key, value in read_toml(path).items())
        rows.append([name, read_text(path).splitlines()[0].lstrip("# "), settings])
    return ["name", "recipe", "settings that differ from the defaults"], rows
