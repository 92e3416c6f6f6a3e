"""Names of classes that look like one class, or like a missing label."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

from noisylabels.core.labels import INTEGER

MISSING_WORDS = frozenset(
    ("na", "n/a", "n.a.", "<na>", "#n/a", "nan", "nat", "null", "nil", "none", "missing", "undefined", "void",
     "unknown", "unlabeled", "tbd", "todo", "?", "??", "???", "-", "--", "---", ".", "_", "x?")
)  # fmt: skip
"""Names, in lower case, that usually mean that the label is missing."""

LOOKALIKES = "classes that look like one"
"""Beginning of the notes on such classes."""

MOST_NOTES = 5  # lines of one kind; the others get a count

_DASHES = re.compile(r"(?<=[^\W\d_])[\s_‐-―-]+(?=[^\W\d_])")  # between letters; "-1" is not "1"


def lookalikes(names: Sequence[str]) -> list[tuple[int, ...]]:
    """Return groups of positions of names that look like one class.

    They differ in case, in how characters are composed (Unicode's NFKC), in invisible characters, in spaces
    at the ends or between words, in a dash or underscore in place of a space, or as numbers, "1" and "01".

    >>> lookalikes(["Cat", "cat ", "dog", "01", "1.0"])
    [(0, 1), (3, 4)]
    """
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        groups.setdefault(look_of(name), []).append(place)
    return [tuple(places) for places in groups.values() if len(places) > 1]


def look_of(name: str) -> str:
    """Return what a name looks like; equal for names that `lookalikes` groups."""
    text = unicodedata.normalize("NFKC", name)
    if not text.isascii() or not text.isprintable():
        text = "".join(c for c in text if c.isspace() or unicodedata.category(c) not in ("Cf", "Cc"))
    text = " ".join(unicodedata.normalize("NFKC", text.casefold()).split())
    if INTEGER.fullmatch(text):
        return str(int(text.partition(".")[0]))
    return _DASHES.sub(" ", text)


def suspicious(names: Sequence[str]) -> list[int]:
    """Return the positions of names that usually mean that the label is missing.

    "-1" counts if all others are numbers from 0 and more than two, so that it marks unlabeled rows.

    >>> suspicious(["cat", "N/A", "?"]), suspicious(["-1", "1"]), suspicious(["-1", "0", "1", "2"])
    ([1, 2], [], [0])
    """
    found = [place for place, name in enumerate(names) if look_of(name) in MISSING_WORDS or not look_of(name)]
    if "-1" in names and len(names) > 3 and all(name.isdecimal() for name in names if name != "-1"):
        found.append(list(names).index("-1"))
    return found


def spelling_notes(codes: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """Return notes on classes that look like one, and on classes that look like a missing label.

    Args:
        codes: (N,) class numbers.
        class_names: K names.

    >>> spelling_notes(np.array([0, 0, 1, 2]), ("Cat", "cat ", "dog"))
    ["classes that look like one: 'Cat' (2), 'cat ' (1); correct their spelling if they are one"]
    >>> spelling_notes(np.array([0, 1, 1]), ("NA", "dog"))[0]
    "1 label is 'NA': a class of that name is trained; if it means that the label is missing, remove this row"
    """
    alike, strange = lookalikes(class_names), suspicious(class_names)
    if not alike and not strange:
        return []
    counts = np.bincount(codes[codes >= 0], minlength=len(class_names)).tolist()
    notes = []
    for places in alike[:MOST_NOTES]:
        ranked = sorted(places, key=lambda k: -counts[k])
        written = [repr(class_names[k]) for k in ranked]
        if len({unicodedata.normalize("NFC", word) for word in written}) < len(written):
            written = [ascii(class_names[k]) for k in ranked]  # composed and decomposed letters look equal
        shown = ", ".join(f"{word} ({counts[k]:,})" for word, k in zip(written, ranked, strict=True))
        notes.append(f"{LOOKALIKES}: {shown}; correct their spelling if they are one")
    if len(alike) > MOST_NOTES:
        more = len(alike) - MOST_NOTES
        notes.append(f"{LOOKALIKES}: {more:,} more group{'s' if more > 1 else ''}")
    for k in strange[:MOST_NOTES]:
        which = "1 label is" if counts[k] == 1 else f"{counts[k]:,} labels are"
        rows = "this row" if counts[k] == 1 else "these rows"
        notes.append(
            f"{which} {class_names[k]!r}: a class of that name is trained; if it means that the label is "
            f"missing, remove {rows}"
        )
    if len(strange) > MOST_NOTES:
        more = len(strange) - MOST_NOTES
        which = "1 more class looks" if more == 1 else f"{more} more classes look"
        notes.append(f"{which} like missing labels")
    return notes


def padding_notes(written: Sequence[str]) -> list[str]:
    """Return notes on labels of a text table that differ from others only in the spaces around them.

    Args:
        written: N cells with the spaces around them, which are not part of a label.

    >>> padding_notes(["cat", "cat ", "cat ", " dog"])
    ["spaces around a label are ignored: 'cat ' (2) is read as 'cat'"]
    """
    counts = Counter(written)
    if not any(cell != cell.strip() for cell in counts):
        return []
    ways: dict[str, list[str]] = {}
    for cell in counts:
        ways.setdefault(cell.strip(), []).append(cell)
    notes = []
    for name, cells in ways.items():
        if name and len(cells) > 1:
            shown = ", ".join(f"{cell!r} ({counts[cell]:,})" for cell in cells if cell != name)
            verb = "is" if sum(cell != name for cell in cells) == 1 else "are"
            notes.append(f"spaces around a label are ignored: {shown} {verb} read as {name!r}")
    if (more := len(notes) - MOST_NOTES) > 0:
        others = f"{more} more class{'es' if more > 1 else ''}"
        return [*notes[:MOST_NOTES], f"spaces around a label are ignored: {others}"]
    return notes
