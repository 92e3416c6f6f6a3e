"""Read a study (fixed settings, axes, exclusions, overrides) from a TOML file and expand it into cells.

title = "Two losses under two noises"
recipe = "digits"                        # settings to start from, as in `noisylabels train RECIPE`

[fixed]
epochs = 30

[axes]                                   # every combination is a cell
loss = ["ce", "nce+mae"]
noise = ["symmetric:0.2", "symmetric:0.8"]
seed = [1, 2, 3]

[[exclude]]                              # except these; * matches any text
loss = "ce"
noise = "symmetric:0.8"

[[override]]                             # other settings in these cells
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
"""Settings that depend on the machine: given as flags, never by a study."""

MOST_CELLS = 100_000

LONGEST = 240
"""Maximum length of the axes in a cell's name: a folder name has at most 255 bytes."""


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Args:
        name: values of the axes and the run id; the name of the folder.
        axes: axis -> value.
        config: canonical configuration.
        run_id: id of the configuration.
    """

    name: str
    axes: Mapping[str, Any]
    config: RunConfig
    run_id: str


@dataclass(frozen=True)
class Study:
    """A study as defined by its file; `cells` expands it.

    Args:
        name: name of the file without suffix, or of the built-in study.
        title: one line that describes the study.
        recipe: settings to start from, or None.
        fixed: settings of every cell.
        axes: setting -> values, in order; the last axis varies fastest.
        exclude: axis -> pattern; cells that match all patterns of one mapping are left out.
        override: pairs of (axis -> pattern, settings of the matching cells); later ones take precedence.

    Raises:
        InputError: an unknown setting, a wrong type, an empty axis, or a pattern for an unknown axis or
            value.
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
                raise InputError(f"{axis} cannot be an axis: it depends on the machine; give it as a flag")
            if not isinstance(values, list | tuple) or not values:
                raise InputError(f"the axis {axis!r} of the study {self.name} is {values!r}, expected a list")
            if len(set(map(repr, values))) != len(values):
                raise InputError(f"the axis {axis!r} of the study {self.name} has a duplicate value")
        if not self.axes:
            raise InputError(f"the study {self.name} has no axes; add [axes] with, for example, loss = [...]")
        of_overrides = (when for when, _ in self.override)
        for key, tables in (("exclude", self.exclude), ("override", of_overrides)):
            for where in tables:
                for axis, pattern in where.items():
                    if axis not in self.axes:
                        raise InputError(
                            f"a pattern of the study {self.name} names {axis!r}, which is not an axis"
                            + did_you_mean(axis, self.axes)
                        )
                    self._check_pattern(axis, pattern, f", the pattern of an [[{key}]]")
        for layer in (self.fixed, *(settings for _, settings in self.override)):
            for name in layer:
                if name in OWN:
                    raise InputError(
                        f"{name} depends on the machine and cannot be set by a study; give it as a flag"
                    )
        for _, settings in self.override:
            for name in settings:
                if name in self.axes:  # the axis would show a value that was not used
                    raise InputError(f"an override of the study {self.name} sets {name!r}, which is an axis")

    def cells(
        self,
        flags: Mapping[str, Any] | None = None,
        only: Mapping[str, Any] | None = None,
        labels: str | None = None,
    ) -> list[Cell]:
        """Return the cells, with the last axis varying fastest.

        Args:
            flags: settings that take precedence over those of the study: data, device, epochs, ...
            only: axis -> value, pattern or list of these; selects the cells that match all. A value with
                ``{labels}`` may be written with the file's name too.
            labels: file that replaces ``{labels}`` in the values of axes.

        Raises:
            InputError: an invalid value of a setting, more than 100,000 cells, no cells, two cells that
                are the same run, or an axis given as a flag.
        """
        named = {
            axis: [_unfilled(each, labels) for each in (one if isinstance(one, list | tuple) else [one])]
            for axis, one in (only or {}).items()
        }
        return list(self._cells(dict(flags or {}), named, labels))

    def _cells(self, flags: dict[str, Any], only: dict[str, Any], labels: str | None) -> Iterator[Cell]:
        for axis in flags:
            if axis in self.axes:
                raise InputError(f"{axis} is an axis of the study {self.name}; select its values by --only")
        for axis in only:
            if axis not in self.axes:
                raise InputError(
                    f"{axis!r} is not an axis of the study {self.name}{did_you_mean(axis, self.axes)}"
                )
            self._check_pattern(axis, only[axis])
        count = 1
        for values in self.axes.values():
            count *= len(values)
        if count > MOST_CELLS:
            raise InputError(f"the study {self.name} has {count:,} cells, expected at most {MOST_CELLS:,}")
        # cells are compared, so the recipe for tables, which may choose another model for each, plays no
        # part, and no encoder is chosen that the study does not name
        given = {"table_recipe": "none", **({} if self.recipe else {"features": "none"}), **dict(self.fixed)}
        base = to_dict(load_config(self.recipe, **given))
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
                raise InputError(f"the cells {seen[identity]} and {name} are the same run; leave one out")
            seen[identity] = name
            yield Cell(name, at, resolved.config, identity)
        if not seen:
            raise InputError(f"no cell of the study {self.name} is left; check its exclusions and --only")

    def _check_pattern(self, axis: str, pattern: Any, where: str = "") -> None:
        """Raise an `InputError` if a pattern, or one of a list, matches no value of an axis.

        Args:
            axis: the axis.
            pattern: the pattern, or a list of them.
            where: what the error says of the place of the pattern.
        """
        each_of = pattern if isinstance(pattern, list | tuple) and pattern else [pattern]
        for each in each_of:
            if not any(self._fits({axis: value}, {axis: each}) for value in self.axes[axis]):
                hint = did_you_mean(str(each), map(str, self.axes[axis]))
                raise InputError(f"no {axis} of the study {self.name} is {str(each)!r}{where}{hint}")

    def _fits(self, at: Mapping[str, Any], patterns: Mapping[str, Any]) -> bool:
        """Return whether the axes of a cell match all patterns."""

        def one(axis: str, pattern: Any) -> bool:
            if isinstance(pattern, list | tuple):
                return any(one(axis, each) for each in pattern)
            if at[axis] == pattern:
                return True
            if pattern in self.axes[axis]:  # "nce+2*mae" is a loss here and does not match nce+2.5*mae
                return False
            return fnmatch.fnmatchcase(str(at[axis]), _literal(str(pattern)))

        return all(one(axis, pattern) for axis, pattern in patterns.items())

    def _filled(self, at: Mapping[str, Any], labels: str | None) -> dict[str, Any]:
        """Return the values of axes with ``{labels}`` replaced by the file of labels."""
        if labels is None and any("{labels}" in str(value) for value in at.values()):
            raise InputError(f"the study {self.name} needs a label file; give --labels FILE")
        fill = {name: str(value).replace("{labels}", labels or "") for name, value in at.items()}
        return {name: fill[name] if isinstance(value, str) else value for name, value in at.items()}


def _unfilled(pattern: Any, labels: str | None) -> Any:
    """Return a pattern with the file of labels written as the study writes it, ``{labels}``."""
    return pattern.replace(labels, "{labels}") if labels and isinstance(pattern, str) else pattern


def _word(axis: str, value: Any) -> str:
    """Return a value as a part of a folder name."""
    text = str(value) if isinstance(value, str) else f"{axis.replace('_', '')}{value}"
    return re.sub(r"[^A-Za-z0-9+.@]", "_", text)[:40]


def _literal(pattern: str) -> str:
    """Escape all special characters of a pattern except *."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


def studies() -> dict[str, Path]:
    """Return name -> path of the built-in studies."""
    package = Path(__file__).parents[1]
    # the package of the paper may be absent
    folders = (package / "recipes" / "studies", package / "paper" / "studies")
    return dict(sorted((path.stem, path) for folder in folders for path in folder.glob("*.toml")))


def load_study(source: str) -> Study:
    """Load a built-in study by name, or a study from a TOML file.

    Args:
        source: a name in `studies`, or the path of a TOML file.

    Raises:
        InputError: no such study, invalid TOML, or an unknown key (the message suggests the nearest).

    >>> len(load_study("digits").cells())
    96
    """
    shipped = studies()
    path = shipped.get(source, Path(source).expanduser())
    if not path.exists():
        raise InputError(
            f"there is no study {source!r}: expected a TOML file or one of {', '.join(shipped)}"
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
            raise InputError(f"{key} of the study {name} is not a list of tables; write [[{key}]] above each")
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
    """Parse words such as ``epochs=5`` into settings, each with the type of its setting.

    Raises:
        InputError: a word without =, an unknown setting, or a value of another type.
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
    """Parse words such as ``loss=ce,nce+mae`` and ``noise=symmetric:*`` into patterns."""
    found: dict[str, list[str]] = {}
    for word in words:
        axis, equals, text = word.partition("=")
        if not equals or not text:
            raise InputError(f"--only {word!r} names no values, expected AXIS=VALUE,VALUE")
        # commas in parentheses separate parameters of a loss: "gce(q=0.7,k=0.5)"
        found.setdefault(axis.strip(), []).extend(part.strip() for part in re.split(r",(?![^()]*\))", text))
    return found
