"""Lone surrogates in texts: halves of characters, which no encoding, tokenizer or file can hold."""

from __future__ import annotations


def has_lone(text: str) -> bool:
    r"""Return whether a text holds a surrogate, so that it cannot be encoded as UTF-8.

    >>> has_lone("cat \ud83d"), has_lone("cat")
    (True, False)
    """
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def whole_text(text: str) -> str:
    r"""Return a text in which lone surrogates are U+FFFD; both halves of a character become the character.

    They come from texts that were cut in the middle of a character, such as an emoji, or read with
    errors="surrogateescape".

    >>> whole_text("a\udc80b").encode().decode() == "a\N{REPLACEMENT CHARACTER}b"
    True
    >>> whole_text("\ud83d\ude00") == "\N{GRINNING FACE}"
    True
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if has_lone(text) else text
