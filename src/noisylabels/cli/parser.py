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

from noisylabels.cli.completion import Completion
from noisylabels.cli.listing import List
from noisylabels.cli.loss import LossCommand
from noisylabels.cli.noise import Noise
from noisylabels.cli.predict import Predict
from noisylabels.cli.train import Train
from noisylabels.core.checks import InputError, check_choice, did_you_mean

VERBS: dict[str, type] = {
    "train": Train,
    "predict": Predict,
    "list": List,
    "noise": Noise,
    "loss": LossCommand,
    "completion": Completion,
}

DESCRIPTION = """Train classifiers on data whose labels are partly wrong.

noisylabels train digits --noise symmetric:0.4 --loss nce+mae

trains on handwritten digits of which 40 % are labelled wrong, and says how it went. Take your own
images with --data FOLDER (a folder a class). `noisylabels VERB --help` explains each verb; add
--debug to any command to see a full traceback."""


class Command(Protocol):
    """What a verb's arguments are: they know how to carry themselves out."""

    def run(self) -> int:
        """Carry out the command and return the exit code."""


def parse(words: Sequence[str]) -> Command:
    """Return the command that the words describe; help is printed by tyro, which then exits."""
    words = list(words) or ["--help"]
    if words == ["--version"]:
        words = ["list", "version"]
    if not words[0].startswith("-"):
        check_choice(words[0], VERBS, "command")
        _check_flags(words[0], words[1:])
    command = _tyro(words, {})
    if isinstance(command, Train) and command.recipe is not None:
        # Again, now with the recipe's settings as the defaults that flags go over.
        command = _tyro(words, {"train": Train(recipe=command.recipe, config=command.recipe_config())})
    return typing.cast(Command, command)


def parser_type(defaults: dict[str, Any]) -> Any:
    """Return the union of all verbs, as tyro wants it, with other defaults for some."""
    parts = []
    for name, cls in VERBS.items():
        if name in defaults:
            how = tyro.conf.subcommand(name, prefix_name=False, default=defaults[name])
        else:
            how = tyro.conf.subcommand(name, prefix_name=False)
        parts.append(Annotated[cls, how])
    return Union[tuple(parts)]  # noqa: UP007  a union of a computed tuple


def _tyro(words: list[str], defaults: dict[str, Any]) -> Any:
    """Parse with tyro; what it says of an error in a box becomes the message of an `InputError`."""
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            return tyro.cli(
                parser_type(defaults),
                prog="noisylabels",
                description=DESCRIPTION,
                args=words,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise InputError(_first_paragraph(captured.getvalue(), words)) from None


def _first_paragraph(box: str, words: list[str]) -> str:
    """Return the text of a box up to its first rule, as one line."""
    lines = []
    for line in box.splitlines()[1:]:
        text = line.strip("│╭╮╰╯ ")
        if not text.strip("─ "):
            break
        lines.append(text)
    text = re.sub(r"\s+", " ", " ".join(lines)) or "the command could not be read"
    verb = words[0] if words and words[0] in VERBS else ""
    return f"{text.rstrip('. ')}; see `noisylabels {verb + ' ' if verb else ''}--help`"


def _check_flags(verb: str, words: list[str]) -> None:
    """Raise an `InputError` for a flag that the verb does not have, with the nearest that it has."""
    known = ["--help", "-h", *flags(VERBS[verb])]
    for word in words:
        flag = word.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known:
            raise InputError(f"{verb} has no flag {flag!r}{did_you_mean(flag, known)}")


def flags(cls: type) -> list[str]:
    """Return the flags of a verb, those of a configuration inside it included."""
    names: list[str] = []
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        plain = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
        if dataclasses.is_dataclass(plain):
            names += flags(typing.cast(type, plain))
        elif tyro.conf.Positional not in getattr(hint, "__metadata__", ()):
            flag = name.replace("_", "-")
            names += [f"--{flag}", f"--no-{flag}"] if plain is bool else [f"--{flag}"]
    return names
