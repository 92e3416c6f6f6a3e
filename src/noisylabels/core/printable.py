"""Text from files, folders and users, made fit for a terminal: no control characters, no lone surrogates."""

from __future__ import annotations

MOST = 1500
"""Characters of an error in one line; a file can hold longer names and values."""


def printable(text: str, breaks: str = "\n") -> str:
    r"""Return a text in which characters that are not printed are written as escapes, such as ``\x1b``.

    A terminal would carry out such characters: names of classes and files from somebody else could clear the
    screen, recolor it or turn the direction of writing.

    Args:
        text: any text, also with lone surrogates.
        breaks: characters that stay.

    >>> print(printable("\x1b[31mcat\u202e"))
    \x1b[31mcat\u202e
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in breaks else _escaped(c) for c in text)


def one_printed_line(text: str, most: int = MOST) -> str:
    r"""Return a text as one printable line; of more than `most` characters the middle is left out.

    >>> one_printed_line("no class a\nb")
    'no class a\\nb'
    """
    line = printable(text.strip("\n"), breaks="")
    return line if len(line) <= most else f"{line[: most * 2 // 3]} ... {line[-most // 3 :]}"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
