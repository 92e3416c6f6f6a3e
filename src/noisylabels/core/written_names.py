"""Names of examples and classes as files write them: found again although a format keeps less of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def plain_name(name: str) -> str:
    r"""Return a name as the files of this program have it: bytes that are not UTF-8 become \xff.

    >>> plain_name("caf\udce9.png") == r"caf\xe9.png"
    True
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def spellings(names: Iterable[str]) -> dict[str, str]:
    r"""Return the ways in which files write names -> the name.

    A name may be written as it is, without the spaces around it, and with \xff for bytes that are not UTF-8.
    A way that two names share stands for neither of them, unless it is one of them as it is.

    >>> spellings(["a ", "b", " b"]) == {"a ": "a ", "a": "a ", "b": "b", " b": " b"}
    True
    """
    exact = dict.fromkeys(names)
    found: dict[str, str | None] = {}
    for name in exact:
        plain = plain_name(name)
        for way in (name.strip(), plain, plain.strip()):
            found[way] = name if found.get(way, name) == name else None
    return {way: name for way, name in found.items() if name is not None} | {name: name for name in exact}


def named_by(cells: Sequence[str], ids: Iterable[str]) -> list[str | None]:
    """Return the id that each cell of a column of ids stands for; None for a cell that stands for none.

    A cell is read without the spaces around it only if no other cell is the id as it is.

    >>> named_by(["a", "b", " b", "c"], ["a ", "b"])
    ['a ', 'b', None, None]
    """
    ways = spellings(ids)
    exact = {cell for cell in cells if ways.get(cell) == cell}
    found = (ways.get(cell, ways.get(cell.strip())) for cell in cells)
    return [None if name in exact and name != cell else name for cell, name in zip(cells, found, strict=True)]
