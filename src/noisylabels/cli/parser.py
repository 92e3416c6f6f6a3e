"""From words to a command: tyro reads the flags, and every error becomes one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import typing
from collections.abc import Sequence
from typing import Annotated, Any, Protocol, Union

import tyro

from noisylabels.cli.audit import AuditCommand
from noisylabels.cli.bench import Bench
from noisylabels.cli.completion import Completion
from noisylabels.cli.download import Download
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

VERBS: dict[str, type] = {
    "train": Train,
    "tune": Tune,
    "predict": Predict,
    "audit": AuditCommand,
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

DESCRIPTION = """Train classifiers on data whose labels are partly wrong.

noisylabels train digits --noise symmetric:0.4 --loss nce+mae

trains on handwritten digits of which 40 % are labeled wrong, and says how it went. Take your own
images with --data FOLDER (a folder a class). `noisylabels VERB --help` explains each verb; add
--debug to any command to see a full traceback."""


class Command(Protocol):
    """What a verb's arguments are: they know how to carry themselves out."""

    def run(self) -> int:
        """Carry out the command and return the exit code."""


def parse(words: Sequence[str]) -> Command:
    """Return the command that the words describe; help is printed by tyro, which then exits."""
    if list(words) == ["--version"]:
        words = ["list", "version"]
    if not words or words[0].startswith("-"):
        return typing.cast(Command, _tyro(every_verb(), list(words) or ["--help"], description=DESCRIPTION))
    verb, rest = check_choice(words[0], VERBS, "command"), list(words[1:])
    _check_flags(verb, rest)
    command = _tyro(VERBS[verb], rest, verb)
    if isinstance(command, (Train, Tune)) and command.recipe is not None:
        # Again, now with the recipe's settings as the defaults that flags go over.
        default = type(command)(recipe=command.recipe, settings=command.recipe_config())
        command = _tyro(type(command), rest, verb, default=default)
    return typing.cast(Command, command)


def every_verb() -> Any:
    """Return the union of all verbs, for the general help and for shell completion."""
    parts = []
    for name, cls in VERBS.items():
        line = (cls.__doc__ or "").splitlines()[0]
        parts.append(Annotated[cls, tyro.conf.subcommand(name, prefix_name=False, description=line)])
    return Union[tuple(parts)]  # noqa: UP007  a union of a computed tuple


def _tyro(what: Any, words: list[str], verb: str = "", **options: Any) -> Any:
    """Parse with tyro; what it says of an error in a box becomes the message of an `InputError`."""
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            return tyro.cli(
                what,
                prog=f"noisylabels {verb}".strip(),
                args=words,
                config=(tyro.conf.OmitArgPrefixes,),
                **options,
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise InputError(_one_line(captured.getvalue(), verb)) from None


def _one_line(box: str, verb: str) -> str:
    """Return the text of a box up to its first rule, as one line."""
    lines: list[str] = []
    for line in box.splitlines()[1:]:  # the first is the upper edge, with a title
        text = line.strip("│|╭╮╰╯+ ")
        if text.strip("─- "):
            lines.append(text)
        elif lines:  # a rule; a terminal without box characters has one at the top too
            break
    text = re.sub(r"\s+", " ", " ".join(lines)).rstrip(". ") or "the command could not be read"
    if found := re.match(r"Error parsing (?!--)\S+: (.*)", text):  # from a check of our own: it says it all
        return found[1]
    if found := re.match(r"Error parsing (--\S+): .*('.*')", text):
        return f"{found[1]} is {found[2]}, expected {_expected(found[1], verb)}"
    return f"{text}; see `noisylabels {verb} --help`".replace("  ", " ")


def _expected(flag: str, verb: str) -> str:
    """Say in words what type a flag takes."""
    types = flags(VERBS[verb])
    names = {int: "a whole number", float: "a number", bool: "no value"}
    return next((word for kind, word in names.items() if kind in types.get(flag, ())), "another value")


def _check_flags(verb: str, words: list[str]) -> None:
    """Raise an `InputError` for a flag that the verb does not have, with the nearest that it has."""
    known = ["--help", "-h", *flags(VERBS[verb])]
    for word in words:
        flag = word.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known:
            raise InputError(f"{verb} has no flag {flag!r}{did_you_mean(flag, known)}")


def flags(cls: type) -> dict[str, tuple[Any, ...]]:
    """Return the flags of a verb, those of a configuration inside it included, and their types."""
    found: dict[str, tuple[Any, ...]] = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        plain = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
        if dataclasses.is_dataclass(plain):
            found |= flags(typing.cast(type, plain))
        elif tyro.conf.Positional not in getattr(hint, "__metadata__", ()):
            flag = name.rstrip("_").replace("_", "-")  # from_: a keyword takes no other name
            found[f"--{flag}"] = typing.get_args(plain) or (plain,)
            if plain is bool:
                found[f"--no-{flag}"] = (bool,)
    return found
