"""Say how to remove an audit's folder without losing the decisions of its review."""

from __future__ import annotations

from pathlib import Path

DECISIONS = "review.sqlite"
"""The file in an audit's folder that holds the decisions of its review."""


def to_remove(folder: Path, name: str = "") -> str:
    """Return the words that ask to remove a folder; decisions in it are to be moved first.

    Args:
        folder: the folder.
        name: what the sentence calls it; by default its path.

    >>> to_remove(Path("found")), to_remove(Path("found"), "it")
    ('remove found', 'remove it')
    """
    words = f"remove {name or folder}"
    if not (folder / DECISIONS).exists():
        return words
    return (
        f"{words} (its {DECISIONS} holds the decisions of the review: move it away first, and into the new "
        "folder afterwards)"
    )
