"""Turn the words of a command line into a command; tyro reads the flags, and every error is one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Protocol, Union

import tyro
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

from noisylabels.cli.audit import AuditCommand
from noisylabels.cli.bench import Bench
from noisylabels.cli.download import Download
from noisylabels.cli.embed import Embed
from noisylabels.cli.listing import List
from noisylabels.cli.loss import LossCommand
from noisylabels.cli.noise import Noise
from noisylabels.cli.predict import Predict
from noisylabels.cli.report import Report
from noisylabels.cli.review import Review
from noisylabels.cli.study import StudyCommand
from noisylabels.cli.train import Train
from noisylabels.cli.tune import Tune
from noisylabels.core.checks import InputError, check_choice, did_you_mean
from noisylabels.experiment import RunConfig, load_config


@dataclass
class Completion:
    """Print a script that completes commands and flags in your shell.

    For example:
        noisylabels completion bash > ~/.local/share/bash-completion/completions/noisylabels
    """

    shell: Annotated[Literal["bash", "zsh", "fish"], tyro.conf.Positional]
    """your shell"""

    def run(self) -> int:
        """Print the script; tyro writes it and exits."""
        _tyro(every_verb(), ["--tyro-print-completion", self.shell])
        return 0


VERBS: dict[str, type] = {
    "train": Train,
    "tune": Tune,
    "predict": Predict,
    "audit": AuditCommand,
    "embed": Embed,
    "study": StudyCommand,
    "report": Report,
    "review": Review,
    "download": Download,
    "list": List,
    "noise": Noise,
    "loss": LossCommand,
    "bench": Bench,
    "completion": Completion,
}

DESCRIPTION = """Train classifiers on data whose labels are partly wrong, and find the wrong labels.

Examples:
    noisylabels train digits --noise symmetric:0.4 --loss nce+mae
    noisylabels audit photos/

The first trains on handwritten digits with 40 % noisy labels; the second lists the likely label errors in
your own folder of images (one folder per class). `noisylabels VERB --help` explains each verb. Add --debug
to any command for a full traceback."""


class Command(Protocol):
    """The parsed arguments of a verb, which can run it."""

    def run(self) -> int:
        """Run the command and return the exit code."""


def parse(words: Sequence[str]) -> Command:
    """Return the command that the words describe; for help, tyro prints it and exits."""
    if list(words) == ["--version"]:
        words = ["list", "version"]
    if not words or words[0].startswith("-"):
        return typing.cast(Command, _tyro(every_verb(), list(words) or ["--help"], description=DESCRIPTION))
    verb, rest = check_choice(words[0], VERBS, "command"), list(words[1:])
    _check_flags(verb, rest)
    command = _tyro(VERBS[verb], rest, verb)
    if isinstance(command, (Train, Tune)):
        # the settings of the recipe, and over them those of the flags; only these count as given
        given = {_field(word) for word in rest} & {field.name for field in dataclasses.fields(RunConfig)}
        settings = load_config(command.recipe, **{name: getattr(command.settings, name) for name in given})
        command = dataclasses.replace(command, settings=settings)
    return typing.cast(Command, command)


def _field(word: str) -> str:
    """Return the name of the setting that a flag sets; "" for another word."""
    if not word.startswith("--"):
        return ""
    return word.partition("=")[0].removeprefix("--").replace("-", "_").removeprefix("no_")


def every_verb() -> Any:
    """Return the union of all verbs, for the general help and for shell completion."""
    parts = []
    for name, cls in VERBS.items():
        line = (cls.__doc__ or "").splitlines()[0]
        parts.append(Annotated[cls, tyro.conf.subcommand(name, prefix_name=False, description=line)])
    return Union[tuple(parts)]  # noqa: UP007  a union of a computed tuple


def _tyro(what: Any, words: list[str], verb: str = "", **options: Any) -> Any:
    """Parse with tyro and turn the error that it prints in a box into an `InputError`."""
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            return tyro.cli(
                what,
                prog=f"noisylabels {verb}".strip(),
                args=words,
                config=(tyro.conf.OmitArgPrefixes,),
                registry=_registry(),
                **options,
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise InputError(_one_line(captured.getvalue(), verb)) from None


def _registry() -> ConstructorRegistry:
    """Return tyro's rules with ours for the help of a field: flowing text, and no default of None."""
    registry, within = ConstructorRegistry(), False

    @registry.struct_rule
    def rule(info: StructTypeInfo) -> StructConstructorSpec | None:
        nonlocal within
        if within or not dataclasses.is_dataclass(info.type):
            return None
        within = True  # the next call finds tyro's own rule
        try:
            spec = ConstructorRegistry.get_struct_spec(info)
        finally:
            within = False
        if not isinstance(spec, StructConstructorSpec):
            return None
        return dataclasses.replace(spec, fields=tuple(map(_explained, spec.fields)))

    return registry


def _explained(field: StructFieldSpec) -> StructFieldSpec:
    """Return a field whose help has no line breaks of the source, no default of None and no type None."""
    kind: Any = field.type
    if field.default is None or field.default in ((), ""):  # the text says what that means
        kind = Annotated[kind, tyro.conf.arg(help_behavior_hint="")]
    elif field.default is tyro.MISSING_NONPROP:
        kind = Annotated[kind, tyro.conf.arg(help_behavior_hint="(required)")]
    if typing.get_origin(field.type) is UnionType:
        names = [each.__name__.upper() for each in typing.get_args(field.type) if each is not type(None)]
        kind = Annotated[kind, tyro.conf.arg(metavar="|".join(names))]
    return dataclasses.replace(field, type=kind, helptext=_flowing(field.helptext))


def _flowing(text: str | Callable[[], str | None] | None) -> Callable[[], str | None]:
    """Return a function that reads a help text as one line; tyro keeps the breaks of a docstring."""

    def read() -> str | None:
        found = text() if callable(text) else text
        return None if found is None else " ".join(found.split())

    return read


def _one_line(box: str, verb: str) -> str:
    """Return the text of a box up to its first rule, as one line."""
    lines: list[str] = []
    for line in box.splitlines()[1:]:  # the first is the upper edge, with a title
        text = line.strip("│|╭╮╰╯+ ")
        if text.strip("─- "):
            lines.append(text)
        elif lines:  # a rule; a terminal without box characters has one at the top too
            break
    text = re.sub(r"\s+", " ", " ".join(lines)).rstrip(". ") or "the command could not be parsed"
    if found := re.match(r"Error parsing (?!--)\S+: (.*)", text):  # from a check of our own: complete
        return found[1]
    if found := re.match(r"Error parsing (--\S+): .*('.*')", text):
        return f"{found[1]} is {found[2]}, expected {_expected(found[1], verb)}"
    if found := re.match(r"invalid choice ('.*') for argument '(.*)'\. Expected one of \((.*)\)", text):
        return f"{found[2]} is {found[1]}, expected one of {found[3].rstrip(',')}"
    for pattern, words in TYRO_ERRORS.items():
        text = re.sub(f"^{pattern}$", words, text)
    return f"{text}; see `noisylabels {verb} --help`".replace("  ", " ")


TYRO_ERRORS = {
    r"Missing from noisylabels \S+: (.*?) (.*) \(required\)": r"\1 is missing: \2",
    r"Missing value for argument '(\S+)'\. Expected .*": r"\1 has no value",
    r"Unrecognized options: (.*)": r"unexpected argument: \1",
}
"""Errors of tyro, as patterns -> our words for them."""


def _expected(flag: str, verb: str) -> str:
    """Return in words the type of a flag's value."""
    types = flags(VERBS[verb])
    names = {int: "a whole number", float: "a number", bool: "no value"}
    return next((word for kind, word in names.items() if kind in types.get(flag, ())), "another value")


def _check_flags(verb: str, words: list[str]) -> None:
    """Raise an `InputError` for a flag that the verb does not have, and suggest the nearest that it has."""
    known = ["--help", "-h", *flags(VERBS[verb])]
    for word in words:
        flag = word.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known:
            raise InputError(f"{verb} has no flag {flag!r}{did_you_mean(flag, known)}")


def flags(cls: type) -> dict[str, tuple[Any, ...]]:
    """Return the flags of a verb, including those of a configuration inside it, and their types."""
    found: dict[str, tuple[Any, ...]] = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        plain = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
        if typing.get_origin(plain) is typing.ClassVar:
            continue
        if dataclasses.is_dataclass(plain):
            found |= flags(typing.cast(type, plain))
        elif tyro.conf.Positional not in getattr(hint, "__metadata__", ()):
            flag = name.rstrip("_").replace("_", "-")  # from_: `from` is a keyword
            found[f"--{flag}"] = typing.get_args(plain) or (plain,)
            if plain is bool:
                found[f"--no-{flag}"] = (bool,)
    return found
