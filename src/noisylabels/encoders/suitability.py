"""Errors about examples that an encoder does not take, one line for every verb and argument."""

from __future__ import annotations

from noisylabels.core.checks import InputError
from noisylabels.data.features import Examples, FeatureSet
from noisylabels.encoders.encoder import EITHER, IMAGES, TEXTS

NUMBERS = "numbers"
"""Rows of numbers and words without text, which no encoder takes."""

_LEAVE_OUT = "leave out --features (features=)"
_WHAT_TO_DO = {
    IMAGES: f"use an encoder of images, such as efficientnet-lite0, or {_LEAVE_OUT}",
    TEXTS: f"use an encoder of texts, such as minilm or tfidf, or {_LEAVE_OUT}",
}


def content_of(part: Examples) -> str:
    """Return what a set has for an encoder: `IMAGES`, `TEXTS` or `NUMBERS`."""
    if not isinstance(part, FeatureSet):
        return IMAGES
    return TEXTS if part.texts is not None and part.embedding is None else NUMBERS


def check_content(features: str, of: str, content: str, name: str) -> None:
    """Raise an `InputError` if an encoder does not take some examples.

    Args:
        features: the encoder, as the user named it.
        of: what it encodes, `IMAGES`, `TEXTS` or, before it is built, `EITHER`.
        content: what the examples are: `IMAGES`, `TEXTS` or `NUMBERS`.
        name: what an error calls them.

    >>> check_content("minilm", TEXTS, IMAGES, "photos")
    Traceback (most recent call last):
        ...
    noisylabels.core.checks.InputError: features is 'minilm', which encodes texts, and photos has images; \
use an encoder of images, such as efficientnet-lite0, or leave out --features (features=)
    """
    if of == content or (of == EITHER and content != NUMBERS):
        return
    what, advice = f"has {content}", _WHAT_TO_DO.get(content, _LEAVE_OUT)
    if content == NUMBERS:
        what = f"has {content} and no text"
        if of != IMAGES:
            advice = f"name a column of text with --text-column (text_column=), or {_LEAVE_OUT}"
    raise InputError(f"features is {features!r}, which encodes {of}, and {name} {what}; {advice}")
