"""Documents and source use the field's terms in American spelling; replaced phrases do not come back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

REPLACED = {
    r"\bby heart\b": "memorized",
    r"\bse(?:en|es?) through\b": "recovered: predicted as the true class",
    r"memoris": "memoriz-, American spelling",
    r"normalis": "normaliz-, American spelling",
    r"labell(?:ed(?!by)|ing)": "labeled, labeling, American spelling",  # aria-labelledby is HTML's
    r"neighbour": "neighbor, American spelling",
    r"colour": "color, American spelling",
    r"behaviour": "behavior, American spelling",
    r"\bpeople's labels\b": "human annotations",
    r"\bthe most doubtful\b": "lowest label quality, likely mislabeled",
    r"\b(?:a|one) training a fold\b": "one model per fold",
    r"\b(?:a|one) (?:row|column|line|folder|file|page|feature) an? (?!given\b|per\b)": "one ... per ...",
    r"\bdealt out\b": "assigned round-robin, divided evenly",
    r"\bsomebody who\b": "name the actor",
    r"\bwhoever\b": "name the actor",
    r"\btakes? turns\b": "scheduled, alternate",
    r"\bends a little elsewhere\b": "results vary slightly across CPUs",
}
"""Phrase over which readers stumble, a regular expression in any case -> what to write instead."""

ALLOWED = {
    "CHANGELOG.md": (r"memoris", r"neighbour"),
    "docs/compatibility.md": (r"memoris", r"neighbour"),
    "src/noisylabels/audit/result.py": (r"neighbour",),
    "src/noisylabels/core/spelling.py": (r"labell(?:ed(?!by)|ing)",),  # as users write "no label"
    "src/noisylabels/core/deprecated.py": (r"neighbour",),
    "src/noisylabels/training/history.py": (r"memoris",),
}
"""Old names of files, methods and columns that are still read: path -> the phrase that may stay."""


def files() -> Iterator[Path]:
    """Yield every file that a user or a contributor reads."""
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"))
    yield from sorted((ROOT / "docs").rglob("*.md"))
    for suffix in ("py", "js", "html"):
        yield from sorted((ROOT / "src" / "noisylabels").rglob(f"*.{suffix}"))


TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files()}


def stumbles(text: str, allowed: tuple[str, ...] = ()) -> list[str]:
    """Return a line per replaced phrase in a text, with its line number and what to write instead."""
    flat = re.sub(r"\s", " ", text)  # a phrase may go over the end of a line
    return [
        f"line {text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}; write: {instead}"
        for phrase, instead in REPLACED.items()
        if phrase not in allowed
        for match in re.finditer(phrase, flat, re.IGNORECASE)
    ]


def test_there_are_files_to_check() -> None:
    assert {"README.md", "docs/audit.md", "docs/losses/ce.md", "src/noisylabels/cli/train.py"} <= TEXTS.keys()
    assert ALLOWED.keys() <= TEXTS.keys()


def test_replaced_phrases_do_not_come_back() -> None:
    found = [
        f"{name}, {line}" for name, text in TEXTS.items() for line in stumbles(text, ALLOWED.get(name, ()))
    ]
    assert not found, "\n".join(found)


def test_phrases_are_found_across_lines_and_in_any_case() -> None:
    assert stumbles("It was\nlearned by\nheart.") == ["line 2: 'by heart'; write: memorized"]
    assert stumbles('<p aria-labelledby="x">') == []
    assert len(stumbles("Colour of one row an example, labelled")) == 3
    assert stumbles("the neighbours", (r"neighbour",)) == []
