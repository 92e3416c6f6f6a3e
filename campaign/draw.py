"""Draw everything that is random in a case: numbers, texts, cells, and damage to bytes and to trees."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

ODD_TEXTS = (
    "",
    " ",
    "nan",
    "NaN",
    "None",
    "null",
    "inf",
    "-0",
    "0",
    "1",
    "1.0",
    "1e400",
    "007",
    "true",
    "\ufeffx",
    "\x1b[2J\x1b[31mred",
    "\x9b31m",
    "a\nb",
    "a\rb",
    "a\tb",
    "\u202egnp.exe",
    "\u2028",
    "é",
    "e\u0301",
    "中文",
    "😀",
    "=1+1",
    "@SUM(A1)",
    "-1",
    "+1",
    "a,b",
    'a"b',
    "'",
    "a;b",
    "../x",
    "/",
    "\\",
    "C:\\x",
    "%s",
    "{}",
    "$HOME",
    "`id`",
    "[red]x[/red]",
    "[/]",
    "<b>&amp;</b>",
    "x" * 300,
    "\x00",
    "\x7f",
)
"""Texts that programs trip over: of terminals, spreadsheets, markup, paths, numbers and encodings."""

ODD_NUMBERS = (
    0,
    -0.0,
    1,
    -1,
    2,
    0.5,
    255,
    256,
    1e-320,
    1e308,
    -1e308,
    float("nan"),
    float("inf"),
    2**31,
    2**53,
    2**63,
    -(2**63),
    2**64,
    10**30,
)
EDGES = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**63 - 1,
    2**64 - 1,
)
"""Integers at the edges of the widths in which headers store counts and offsets."""


class Draw(random.Random):
    """Random draws of one case; the same seed and number give the same case."""

    def __init__(self, seed: int, number: int, series: str = "case") -> None:
        super().__init__(f"{series}/{seed}/{number}")
        self.number = number

    def chance(self, share: float) -> bool:
        """Return True with this probability."""
        return self.random() < share

    def some(self, options: Sequence[T], least: int = 0) -> list[T]:
        """Return a random selection of the options, in their order."""
        chosen = set(self.sample(range(len(options)), self.randint(least, len(options))))
        return [option for k, option in enumerate(options) if k in chosen]

    def often(self, usual: Callable[[], T], odd: Callable[[], T], share: float = 0.9) -> T:
        """Return the usual value with this probability, else the odd one."""
        return usual() if self.chance(share) else odd()

    def odd_text(self) -> str:
        """Return a text that programs trip over, at times of random characters."""
        if self.chance(0.8):
            return self.choice(ODD_TEXTS)
        return "".join(
            chr(self.choice((self.randrange(128), self.randrange(0xD800))))
            for _ in range(self.randint(1, 20))
        )

    def number_text(self) -> str:
        """Return a number as text: usual or odd."""
        return self.often(lambda: f"{self.uniform(-9, 9):.3g}", lambda: str(self.choice(ODD_NUMBERS)))

    def bits(self, count: int) -> bytes:
        """Return random bytes."""
        return self.randbytes(count)

    def damaged(self, content: bytes, most: int = 4) -> bytes:
        """Return bytes damaged one to `most` times: cut, flipped, overwritten, moved, repeated, inserted."""
        data = bytearray(content)
        for _ in range(self.randint(1, most)):
            self._damage(data)
        return bytes(data)

    def _damage(self, data: bytearray) -> None:
        size = len(data)
        # headers and trailers are where structures are: half of the damage goes there
        near = self.choice(
            (self.randrange(min(64, size) + 1), max(0, size - self.randrange(64)), self.randint(0, size))
        )
        at = min(near, size)
        length = self.choice((1, 2, 4, 8, self.randint(1, max(1, size // 3))))
        way = self.randrange(8)
        if way == 0:
            del data[at:]
        elif way == 1:
            del data[at : at + length]
        elif way == 2 and at < size:
            data[at] ^= 1 << self.randrange(8)
        elif way == 3:
            width = self.choice((1, 2, 4, 8))
            value = self.choice(EDGES) % 2 ** (8 * width)
            data[at : at + width] = value.to_bytes(width, self.choice(("little", "big")))
        elif way == 4:
            data[at:at] = data[at : at + length]
        elif way == 5:
            data[at:at] = self.bits(length)
        elif way == 6:
            data[at : at + length] = bytes(min(length, size - at))
        else:
            other = self.randint(0, size)
            data[at : at + length] = data[other : other + length]

    def odd_value(self) -> Any:
        """Return a value of JSON of any type, rarely a deep or a huge one."""
        return self.choice(
            (
                lambda: None,
                lambda: self.chance(0.5),
                lambda: self.choice(ODD_NUMBERS),
                self.odd_text,
                lambda: [],
                lambda: {},
                lambda: [self.odd_text(), None, 1],
                lambda: {self.odd_text(): self.choice(ODD_NUMBERS)},
                lambda: [[1.0, 2.0]] * 3,
                lambda: "\ud800",
                lambda: self.bits(3).hex(),
                lambda: {"$deep": self.choice((50, 1100, 6000))},  # written by `texts.to_json`
                lambda: {"$digits": self.choice((50, 400, 6000))},
            )
        )()

    def altered(self, tree: Any, most: int = 3) -> Any:
        """Return a JSON value with one to `most` changes: another value, a key missing, new or renamed."""
        for _ in range(self.randint(1, most)):
            tree = self._alter(tree)
        return tree

    def _alter(self, tree: Any) -> Any:
        inner = isinstance(tree, (dict, list)) and len(tree) > 0
        if not inner or self.chance(0.1):
            return self.odd_value()
        if isinstance(tree, dict):
            key = self.choice(sorted(tree, key=repr))
            if self.chance(0.12):
                return {k: v for k, v in tree.items() if k != key}
            if self.chance(0.08):
                return {(self.odd_text() if k == key else k): v for k, v in tree.items()}
            return tree | {key: self._alter(tree[key])}
        at = self.randrange(len(tree))
        if self.chance(0.2):
            return self.choice((tree[:at], tree + tree, tree[at:], [*tree, self.odd_value()]))
        return [*tree[:at], self._alter(tree[at]), *tree[at + 1 :]]


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a PNG chunk with a correct checksum."""
    import zlib

    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
