"""A study: fixed settings, axes, exclusions and overrides from a TOML file, expanded into cells.

title = "Two losses under two noises"
recipe = "digits"                        # settings to start from, as in `noisylabels train RECIPE`

[fixed]
epochs = 30

[axes]                                   # every combination is a cell
loss = ["ce", "nce+mae"]
noise = ["symmetric:0.2", "symmetric:0.8"]
seed = [1, 2, 3]

[[exclude]]                              # but these; * stands for any text
loss = "ce"
noise = "symmetric:0.8"

[[override]]                             # and these with other settings
when = { noise = "symmetric:*" }
set = { precision = "bfloat16" }
"""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noisylabels.core.checks import InputError, did_you_mean
from noisylabels.core.config import build, field_types, read_toml, to_dict
from noisylabels.experiment import RunConfig, load_config, resolve

KEYS = ("title", "recipe", "fixed", "axes", "exclude", "override")
OWN = ("out", "data_root", "download", "device")
"""Settings that belong to a machine: a flag gives them, no study."""

MOST_CELLS = 100_000

LONGEST = 240
"""Letters of a cell's axes in its name: a folder's name may not be longer than 255 bytes."""


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Args:
        name: axes in words and the run's id, the name of its folder.
        axes: axis -> value.
        config: canonical.
        run_id: of the configuration.
    """

    name: str
    axes: Mapping[str, Any]
    config: RunConfig
    run_id: str


@dataclass(frozen=True)
class Study:
    """A study as its file says it; `cells` expands it.

    Args:
        name: of the file, or of the study that comes with the package.
        title: one line for people.
        recipe: settings to start from, or None.
        fixed: settings of every cell.
        axes: setting -> values, in their order; the last varies first.
        exclude: axis -> pattern; a cell that fits all patterns of one of them is left out.
        override: pairs of (axis -> pattern, settings for the cells that fit); a later one wins.

    Raises:
        InputError: an unknown setting, a wrong type, an empty axis, a pattern for what is no axis.
    """

    name: str
    title: str = ""
    recipe: str | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    exclude: Sequence[Mapping[str, Any]] = ()
    override: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]] = ()

    def __post_init__(self) -> None:
        known = field_types(RunConfig)
        for axis, values in self.axes.items():
            if axis not in known:
                raise InputError(f"unknown axis {axis!r} of the study {self.name}{did_you_mean(axis, known)}")
            if axis in OWN:
                raise InputError(f"{axis} is no axis: it says where a run is carried out, not what it is")
            if not isinstance(values, list | tuple) or not values:
                raise InputError(f"the axis {axis!r} of the study {self.name} is {values!r}, expected a list")
            if len(set(map(repr, values))) != len(values):
                raise InputError(f"the axis {axis!r} of the study {self.name} has a value twice")
        if not self.axes:
            raise InputError(f"the study {self.name} has no axes; give it [axes] with loss = [...], say")
        for where in (*self.exclude, *(when for when, _ in self.override)):
            for axis in where:
                if axis not in self.axes:
                    raise InputError(
                        f"a pattern of the study {self.name} names {axis!r}, which is no axis"
                        + did_you_mean(axis, self.axes)
                    )
        for layer in (self.fixed, *(settings for _, settings in self.override)):
            for name in layer:
                if name in OWN:
                    raise InputError(f"{name} belongs to a machine and not into a study; give it as a flag")
        for _, settings in self.override:
            for name in settings:
                if name in self.axes:  # results would stand under a value that they are not of
                    raise InputError(f"an override of the study {self.name} sets {name!r}, which is an axis")

    def cells(
        self,
        flags: Mapping[str, Any] | None = None,
        only: Mapping[str, Any] | None = None,
        labels: str | None = None,
    ) -> list[Cell]:
        """Return the cells, the last axis varying first.

        Args:
            flags: settings over those of the study: data, device, epochs, ...
            only: axis -> value, pattern or list of such: cells that fit all of them.
            labels: the file that stands for ``{labels}`` in the values of axes.

        Raises:
            InputError: a value that a setting does not take, more than 100,000 cells, none, two that
                are one and the same run, or an axis given by a flag.
        """
        return list(self._cells(dict(flags or {}), dict(only or {}), labels))

    def _cells(self, flags: dict[str, Any], only: dict[str, Any], labels: str | None) -> Iterator[Cell]:
        for axis in flags:
            if axis in self.axes:
                raise InputError(f"{axis} is an axis of the study {self.name}; choose its values by --only")
        for axis in only:
            if axis not in self.axes:
                raise InputError(
                    f"{axis!r} is no axis of the study {self.name}{did_you_mean(axis, self.axes)}"
                )
        count = 1
        for values in self.axes.values():
            count *= len(values)
        if count > MOST_CELLS:
            raise InputError(
                f"the study {self.name} has {count:,} cells, expected {MOST_CELLS:,} at the most"
            )
        base = to_dict(load_config(self.recipe, **dict(self.fixed)))
        seen: dict[str, str] = {}
        for values in itertools.product(*self.axes.values()):
            at = dict(zip(self.axes, values, strict=True))
            if not self._fits(at, only) or any(self._fits(at, pattern) for pattern in self.exclude):
                continue
            settings: dict[str, Any] = {}
            for when, then in self.override:
                if self._fits(at, when):
                    settings |= then
            resolved = resolve(build(RunConfig, base, self._filled(at, labels), settings, flags))
            identity = resolved.run_id
            words = [_word(axis, value) for axis, value in at.items()]
            name = "-".join(["-".join(words)[:LONGEST], identity])
            if identity in seen:
                raise InputError(
                    f"the cells {seen[identity]} and {name} are one and the same run; leave one out"
                )
            seen[identity] = name
            yield Cell(name, at, resolved.config, identity)
        if not seen:
            raise InputError(
                f"no cell of the study {self.name} is left; look at its exclusions and at --only"
            )

    def _fits(self, at: Mapping[str, Any], patterns: Mapping[str, Any]) -> bool:
        """Return whether the axes of a cell fit all patterns."""

        def one(axis: str, pattern: Any) -> bool:
            if isinstance(pattern, list | tuple):
                return any(one(axis, each) for each in pattern)
            if at[axis] == pattern:
                return True
            if pattern in self.axes[axis]:  # "nce+2*mae" is a loss, and does not stand for nce+2.5*mae
                return False
            return fnmatch.fnmatchcase(str(at[axis]), _literal(str(pattern)))

        return all(one(axis, pattern) for axis, pattern in patterns.items())

    def _filled(self, at: Mapping[str, Any], labels: str | None) -> dict[str, Any]:
        """Return the values of axes with the file of labels in the place of ``{labels}``."""
        if labels is None and any("{labels}" in str(value) for value in at.values()):
            raise InputError(f"the study {self.name} needs a file of labels; give --labels FILE")
        fill = {name: str(value).replace("{labels}", labels or "") for name, value in at.items()}
        return {name: fill[name] if isinstance(value, str) else value for name, value in at.items()}


def _word(axis: str, value: Any) -> str:
    """Return a value as a part of a folder's name."""
    text = str(value) if isinstance(value, str) else f"{axis.replace('_', '')}{value}"
    return re.sub(r"[^A-Za-z0-9+.@]", "_", text)[:40]


def _literal(pattern: str) -> str:
    """Return a pattern in which nothing but * is special."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


def studies() -> dict[str, Path]:
    """Return the studies that come with the package, by name."""
    package = Path(__file__).parents[1]
    # the paper's are in its own package, which may be absent
    folders = (package / "recipes" / "studies", package / "paper" / "studies")
    return dict(sorted((path.stem, path) for folder in folders for path in folder.glob("*.toml")))


def load_study(source: str) -> Study:
    """Return the study of that name, or of the TOML file at that path.

    Raises:
        InputError: there is none, it is no TOML, or has an unknown key (with the nearest).
    """
    shipped = studies()
    path = shipped.get(source, Path(source).expanduser())
    if not path.exists():
        raise InputError(
            f"there is no study {source!r}: no file of that name, and none of: {', '.join(shipped)}"
            + did_you_mean(source, shipped).partition("; known")[0]
        )
    return from_table(read_toml(path), path.stem)


_KINDS: dict[str, type] = {"text": str, "table": dict}


def from_table(table: Mapping[str, Any], name: str) -> Study:
    """Return the study that a TOML table describes."""
    for key in table:
        if key not in KEYS:
            raise InputError(f"unknown key {key!r} of the study {name}{did_you_mean(key, KEYS)}")
    for key, what in (("title", "text"), ("recipe", "text"), ("fixed", "table"), ("axes", "table")):
        if not isinstance(table.get(key, _KINDS[what]()), _KINDS[what]):
            raise InputError(f"{key} of the study {name} is {table[key]!r}, expected a {what}")
    for key in ("exclude", "override"):
        found = table.get(key, [])
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise InputError(f"{key} of the study {name} is no list of tables; write [[{key}]] over each")
    override = []
    for each in table.get("override", []):
        if each.keys() != {"when", "set"} or not all(isinstance(part, dict) for part in each.values()):
            raise InputError(
                f"an override of the study {name} is {each!r}, expected when = {{...}}, set = {{...}}"
            )
        override.append((each["when"], each["set"]))
    return Study(
        name=name,
        title=table.get("title", ""),
        recipe=table.get("recipe"),
        fixed=table.get("fixed", {}),
        axes=table.get("axes", {}),
        exclude=table.get("exclude", []),
        override=override,
    )


def read_flags(words: Sequence[str], what: str = "--set") -> dict[str, Any]:
    """Return settings from words such as ``epochs=5`` and ``loss=ce,mae``, each of the type of its setting.

    Raises:
        InputError: a word without =, an unknown setting, a value of another type.
    """
    known = field_types(RunConfig)
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in known:
            hint = did_you_mean(name, known) if equals else "; expected NAME=VALUE"
            raise InputError(f"{what} {word!r} names no setting{hint}")
        found[name] = _typed(name, text.strip(), known[name], what)
    return found


def _typed(name: str, text: str, kinds: tuple[type, ...], what: str) -> Any:
    for kind in kinds:
        if kind is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
        if kind is str:
            return text
    names = " or ".join(kind.__name__ for kind in kinds)
    raise InputError(f"{what} gives {name} the value {text!r}, expected {names}")


def read_only(words: Sequence[str]) -> dict[str, list[str]]:
    """Return patterns from words such as ``loss=ce,nce+mae`` and ``noise=symmetric:*``."""
    found: dict[str, list[str]] = {}
    for word in words:
        axis, equals, text = word.partition("=")
        if not equals or not text:
            raise InputError(f"--only {word!r} names no values, expected AXIS=VALUE,VALUE")
        # a comma inside parentheses is a loss's: "gce(q=0.7,k=0.5)"
        found.setdefault(axis.strip(), []).extend(part.strip() for part in re.split(r",(?![^()]*\))", text))
    return found
