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
    "src/noisylabels/audit/result.py": r"neighbour",
    "src/noisylabels/noise/estimate.py": r"neighbour",
    "src/noisylabels/training/history.py": r"memoris",
}
"""Old names of files, methods and columns that are still read: path -> the phrase that may stay."""

PENDING = {
    "CHANGELOG.md",
    "docs/audit.md",
    "docs/speed.md",
    "docs/tutorial.md",
    "src/noisylabels/audit/cross_validation.py",
    "src/noisylabels/audit/issues.py",
    "src/noisylabels/audit/page.html",
    "src/noisylabels/audit/page.py",
    "src/noisylabels/audit/result.py",
    "src/noisylabels/audit/review/api.js",
    "src/noisylabels/audit/review/forms.py",
    "src/noisylabels/audit/review/page.html",
    "src/noisylabels/audit/review/server.py",
    "src/noisylabels/audit/review/session.py",
    "src/noisylabels/audit/running.py",
    "src/noisylabels/audit/scores.py",
    "src/noisylabels/bench/data.py",
    "src/noisylabels/cli/audit.py",
    "src/noisylabels/cli/parser.py",
    "src/noisylabels/cli/progress.py",
    "src/noisylabels/cli/study.py",
    "src/noisylabels/cli/train.py",
    "src/noisylabels/core/files.py",
    "src/noisylabels/data/cache.py",
    "src/noisylabels/data/decode_workers.py",
    "src/noisylabels/data/encoding.py",
    "src/noisylabels/data/feature_table.py",
    "src/noisylabels/data/features.py",
    "src/noisylabels/data/formats.py",
    "src/noisylabels/data/image_decoding.py",
    "src/noisylabels/data/parallel_decoding.py",
    "src/noisylabels/estimator/classifier.py",
    "src/noisylabels/experiment/auto_loss.py",
    "src/noisylabels/experiment/config.py",
    "src/noisylabels/experiment/folder.py",
    "src/noisylabels/experiment/reporter.py",
    "src/noisylabels/experiment/trackers.py",
    "src/noisylabels/losses/catalog.py",
    "src/noisylabels/losses/kernels/fused.py",
    "src/noisylabels/models/mlp.py",
    "src/noisylabels/noise/catalog.py",
    "src/noisylabels/noise/checks.py",
    "src/noisylabels/noise/estimate.py",
    "src/noisylabels/noise/instance.py",
    "src/noisylabels/noise/label_sources.py",
    "src/noisylabels/noise/labels.py",
    "src/noisylabels/report/figures.py",
    "src/noisylabels/report/panels.py",
    "src/noisylabels/training/history.py",
    "src/noisylabels/training/interrupt.py",
}
"""Files not rewritten yet, and those that show their output. One without a phrase must leave the list."""


def files() -> Iterator[Path]:
    """Yield every file that a user or a contributor reads."""
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))
    yield from sorted((ROOT / "docs").rglob("*.md"))
    for suffix in ("py", "js", "html"):
        yield from sorted((ROOT / "src" / "noisylabels").rglob(f"*.{suffix}"))


TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files()}


def stumbles(text: str, allowed: str | None = None) -> list[str]:
    """Return a line per replaced phrase in a text, with its line number and what to write instead."""
    flat = re.sub(r"\s", " ", text)  # a phrase may go over the end of a line
    return [
        f"line {text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}; write: {instead}"
        for phrase, instead in REPLACED.items()
        if phrase != allowed
        for match in re.finditer(phrase, flat, re.IGNORECASE)
    ]


def test_there_are_files_to_check() -> None:
    assert {"README.md", "docs/audit.md", "docs/losses/ce.md", "src/noisylabels/cli/train.py"} <= TEXTS.keys()
    assert ALLOWED.keys() | PENDING <= TEXTS.keys()


def test_replaced_phrases_do_not_come_back() -> None:
    found = {name: stumbles(text, ALLOWED.get(name)) for name, text in TEXTS.items()}
    lines = [f"{name}, {line}" for name in sorted(found.keys() - PENDING) for line in found[name]]
    assert not lines, "\n".join(lines)
    rewritten = sorted(name for name in PENDING if not found[name])
    assert not rewritten, f"take off PENDING, for they have no such phrase any more: {rewritten}"


def test_phrases_are_found_across_lines_and_in_any_case() -> None:
    assert stumbles("It was\nlearned by\nheart.") == ["line 2: 'by heart'; write: memorized"]
    assert stumbles('<p aria-labelledby="x">') == []
    assert len(stumbles("Colour of one row an example, labelled")) == 3
    assert stumbles("the neighbours", r"neighbour") == []
