"""``noisylabels report``: write tables, figures and an HTML page from finished runs."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from noisylabels.cli import output

if TYPE_CHECKING:
    from noisylabels.study.reporting import Sections


@dataclass
class Report:
    """Write tables, figures and an HTML page from finished runs.

    For example:
        noisylabels report runs/digits
        noisylabels report results/digits.parquet --out report --claims mine.py
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUNS [RUNS ...]")]
    """folders of runs, and files written by `noisylabels study export`"""
    out: Path | None = None
    """folder to write to (default: next to the first folder of runs, with its name and -report)"""
    claims: Path | None = None
    """Python file with your own claims, which are tested on the runs"""
    formats: tuple[Literal["svg", "png", "pdf"], ...] = ("svg", "png", "pdf")
    """formats of the figure files; --formats without a value writes only the page and the tables"""

    paper_captions: bool = False
    """name the paper's table or figure in the titles, as in "(Table 1)", and add its diagrams"""
    escape_formulas: bool = False
    """put an apostrophe before cells of the tables' .csv files that a spreadsheet would run as a formula"""

    def run(self) -> int:
        """Write the report."""
        from noisylabels.core.checks import InputError
        from noisylabels.core.files import real_path
        from noisylabels.study.claims import load_claims
        from noisylabels.study.reporting import write_report
        from noisylabels.study.results import read_results

        if not self.runs:
            raise InputError("nothing to report on; give a folder of runs or an exported file")
        first = self.runs[0].expanduser()
        whole = real_path(first)  # "." has no name
        name = whole.name if whole.is_dir() else whole.stem
        parent = first.parent if first.name == whole.name else whole.parent
        out = (self.out or parent / f"{name}-report").expanduser()
        claims = load_claims(self.claims) if self.claims is not None else []
        notes: list[str] = []
        results = read_results(self.runs, notes)
        for note in notes:
            output.note(note)

        def progress(done: int, total: int) -> None:
            output.count_up("figures", done, total)

        try:
            formats = [f".{name}" for name in self.formats]
            sections = _sections(self.paper_captions)
            path = write_report(results, out, claims, formats, progress, sections, self.escape_formulas)
        except OSError as error:
            raise InputError(f"cannot write the report to {out}: {error.strerror or error}") from None
        for each in results:
            failed = f", {len(each.failed)} failed" if each.failed else ""
            output.say(f"{each.title}: {len(each.done)} runs{failed}")
        output.say(f"tables: {out / 'tables'}" + (f", figures: {out / 'figures'}" if self.formats else ""))
        output.say(f"page: {path.resolve()}")
        return 0


def _sections(captions: bool) -> Sections | None:
    """Return the function that adds the paper's sections to a report, or None without that package."""
    from noisylabels.core.checks import InputError

    if importlib.util.find_spec("noisylabels.paper") is None:
        if captions:
            raise InputError("--paper-captions needs the package noisylabels.paper, which is not installed")
        return None
    from noisylabels.paper.report import paper_sections

    return partial(paper_sections, captions=captions)
