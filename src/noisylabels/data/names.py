"""Names of very many examples, stored as bytes in a quarter of the 100 MB of a million Python strings."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import BinaryIO, overload

import numpy as np

from noisylabels.core.columnar import next_array

_AGAIN = re.compile(r"#\d+$")
_BLOCK = 4096  # names made into strings at a time


class Names(Sequence[str]):
    """An immutable sequence of strings.

    Args:
        content: uint8, the concatenated names in UTF-8; bytes of file names that are not UTF-8 are kept.
        starts, ends: int64, (N,): the range of each name in `content`.

    >>> names = Names.of(["cat/1.png", "dog/2.png", "eel/3.png"])
    >>> names[1], list(names[::-2]), len(names)
    ('dog/2.png', ['eel/3.png', 'cat/1.png'], 3)
    """

    def __init__(self, content: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
        self._content = content
        self._starts = starts
        self._ends = ends

    @classmethod
    def of(cls, names: Iterable[str]) -> Names:
        """Return `Names` of strings, which are iterated over once."""
        if isinstance(names, Names):
            return names
        content, ends = bytearray(), array("q")
        for name in names:
            content += name.encode("utf-8", "surrogateescape")
            ends.append(len(content))
        stops = np.frombuffer(ends, dtype=np.int64) if ends else np.empty(0, dtype=np.int64)
        return cls(np.frombuffer(content, dtype=np.uint8), _starts(stops), stops)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Names: ...

    def __getitem__(self, index: int | slice) -> str | Names:
        if isinstance(index, slice):
            return self._part(index)
        return _text(self._content[self._starts[index] : self._ends[index]].tobytes())

    def __iter__(self) -> Iterator[str]:
        for at in range(0, len(self), _BLOCK):
            yield from map(_text, self._block(at))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = [*self[:3], *(["..."] if len(self) > 3 else [])]
        return f"Names({len(self)}: {', '.join(shown)})"

    def digest(self) -> bytes:
        """Return the sha256 of the names in order."""
        found = hashlib.sha256((self._ends - self._starts).astype("<i8").tobytes())
        for piece in self._joined():
            found.update(piece)
        return found.digest()

    def take(self, index: np.ndarray) -> Names:
        """Return the names at `index`, (n,), in its order; the bytes are shared."""
        return self._part(index)

    def after(self, first: Names) -> Names:
        """Return the names of `first` followed by these."""
        if not len(first):
            return self
        more = len(first._content)
        return Names(
            np.concatenate([first._content, self._content]),
            np.concatenate([first._starts, self._starts + more]),
            np.concatenate([first._ends, self._ends + more]),
        )

    def without_prefix(self, prefix: str) -> Names:
        """Return the names with `prefix` removed from those that begin with it; the bytes are shared."""
        wanted = np.frombuffer(prefix.encode(), dtype=np.uint8)
        has = self._ends - self._starts >= len(wanted)
        for place, byte in enumerate(wanted):
            has[has] = self._content[self._starts[has] + place] == byte
        return self.without_start(len(wanted) * has)

    def without_start(self, count: np.ndarray) -> Names:
        """Return the names without the first `count` bytes, (N,), of each; the bytes are shared."""
        return Names(self._content, self._starts + count, self._ends)

    def save(self, file: BinaryIO) -> None:
        """Write the names to an open binary file; see `load`."""
        ends = np.cumsum(self._ends - self._starts)
        np.save(file, ends)
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (int(ends[-1]) if len(ends) else 0,)}
        )
        for piece in self._joined():
            file.write(piece)

    @classmethod
    def load(cls, file: BinaryIO) -> Names:
        """Return the names that `save` wrote.

        Raises:
            OSError, ValueError, EOFError: the file is damaged.
        """
        ends, content = (next_array(file, "the names") for _ in range(2))
        if ends.ndim != 1 or ends.dtype != np.int64 or content.dtype != np.uint8:
            raise ValueError("not a file of names")
        starts = _starts(ends)
        if (starts > ends).any() or (ends[-1] if len(ends) else 0) != len(content):
            raise ValueError("the names do not match their sizes")
        return cls(content, starts, ends)

    def _joined(self) -> Iterator[bytes | memoryview]:
        """Yield the concatenated bytes of all names in pieces."""
        if len(self) and (self._starts[1:] == self._ends[:-1]).all():
            yield self._content[self._starts[0] : self._ends[-1]].data
        else:
            for at in range(0, len(self), _BLOCK):
                yield b"".join(self._block(at))

    def _block(self, at: int) -> list[bytes]:
        """Return the bytes of each name of the block that starts at `at`."""
        starts, ends = self._starts[at : at + _BLOCK], self._ends[at : at + _BLOCK]
        low, high = int(starts.min()), int(ends.max())
        if high - low > 8 * int((ends - starts).sum()):  # far apart
            content = self._content
            return [content[a:b].tobytes() for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
        piece = self._content[low:high].tobytes()
        return [piece[a:b] for a, b in zip((starts - low).tolist(), (ends - low).tolist(), strict=True)]

    def _part(self, index: slice | np.ndarray) -> Names:
        return Names(self._content, self._starts[index], self._ends[index])


def _starts(ends: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(min(1, len(ends)), dtype=np.int64), ends[:-1]])


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def unique_names(names: Iterable[str]) -> tuple[list[str], list[int]]:
    """Return names made unique, and the positions of those that an earlier one has already.

    The second "a.png" is called "a.png#2".

    >>> unique_names(["a.png", "b.png", "a.png"])
    (['a.png', 'b.png', 'a.png#2'], [2])
    """
    given = list(names)
    taken = set(given)
    if len(taken) == len(given):
        return given, []
    seen: dict[str, int] = {}
    repeated = []
    for place, name in enumerate(given):
        seen[name] = count = seen.get(name, 0) + 1
        if count == 1:
            continue
        repeated.append(place)
        while f"{name}#{count}" in taken:
            count += 1
        given[place] = f"{name}#{count}"
        taken.add(given[place])
    return given, repeated


def first_id(name: str) -> str:
    """Return the id without the number of a row whose id an earlier row has.

    >>> first_id("a#2")
    'a'
    """
    return _AGAIN.sub("", name)


def shared_id(name: str, names: Collection[str]) -> str:
    """Return `first_id` if a row has it as its name; the name itself of a row that is called "issue#100".

    >>> shared_id("a#2", {"a", "a#2"}), shared_id("a#2", {"a#1", "a#2"})
    ('a', 'a#2')
    """
    first = first_id(name)
    return first if first in names else name


def path_ids(paths: Iterable[str]) -> tuple[list[str], list[int]]:
    """Return a different id per path of a list, and the positions of paths that an earlier row has already.

    The ids are the paths without a leading "../", or the paths as written if these were not unique.

    >>> path_ids(["../a.png", "../b.png"])[0], path_ids(["../a.png", "a.png"])[0]
    (['a.png', 'b.png'], ['../a.png', 'a.png'])
    """
    names, repeated = unique_names(paths)
    short = [name.removeprefix("../") for name in names]
    return (short if len(set(short)) == len(names) else names), repeated


def namesakes_note(named: Collection[str], ids: Iterable[str]) -> str | None:
    """Return a note on ids such as "a#2" that are not named although "a" is; None if there are none.

    >>> namesakes_note({"a"}, ["a", "b", "a#2"])
    "examples with an id that occurs twice are not named with it: 1, first 'a#2'"
    """
    others = [
        name
        for name in ids
        if name not in named and (parts := name.rpartition("#"))[0] in named and parts[2].isdecimal()
    ]
    if not others:
        return None
    return (
        f"examples with an id that occurs twice are not named with it: {len(others):,}, first {others[0]!r}"
    )
