"""``noisylabels review``: serve a page to correct likely mislabeled examples, and export the labels."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from noisylabels.cli import output

if TYPE_CHECKING:
    from noisylabels.audit.review.session import Session


@dataclass
class Review:
    """Review likely label errors of an audit in the browser, by keyboard, and export corrected labels.

    Each decision is saved at once in the folder of the audit (review.sqlite). The page can be reached only
    from this machine.

    For example:
        noisylabels review photos-audit
        noisylabels review photos-audit --export corrected.csv
        noisylabels review photos-audit --export photos-corrected
    """

    audit: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="AUDIT")]
    """folder written by `noisylabels audit`"""
    export: Path | None = None
    """write the corrected labels to this path instead of serving the page: NAME.csv, .tsv or .parquet gets
    columns id,label; any other name gets a copy of the data in its own format (a new folder of images, an
    .npz file)"""
    form: Literal["auto", "labels", "input"] = "auto"
    """format of the export: labels (columns id,label), input (that of the data, tables and Parquet included),
    or auto (by the file name)"""
    overwrite: bool = False
    """replace an existing file of the export"""
    escape_formulas: bool = False
    """in labels exported as .csv or .tsv, or downloaded from the page, put an apostrophe before cells that a
    spreadsheet would run as a formula; such ids and labels then differ from those of the data"""
    port: int = 0
    """port of the page on 127.0.0.1 (0: any free port)"""
    browser: bool = True
    """open the page in the browser"""
    outside: bool = False
    """also show images outside the folder of the data, reached by links or paths such as ../1.jpg"""
    reviewer: str = ""
    """your name; undo affects only your own decisions (default: the name of the user)"""

    def run(self) -> int:
        """Serve the page until Ctrl-C, or export."""
        from noisylabels.audit.review.session import Session

        reading = self.export is not None
        session = Session(self.audit.expanduser(), self.reviewer or _user(), self.outside, reading=reading)
        try:
            for note in session.notes():
                output.note(note)
            return self._export(session) if self.export is not None else self._serve(session)
        finally:
            session.store.close()

    def _export(self, session: Session) -> int:
        from noisylabels.audit.page import next_steps
        from noisylabels.audit.review.export import export

        assert self.export is not None
        done = export(session, self.export.expanduser(), self.form, self.overwrite, self.escape_formulas)
        left_out = f", {done.left_out:,} left out" if done.left_out else ""
        output.say(f"{done.path}: {done.labels:,} labels, {done.changed:,} of them corrected{left_out}")
        if self.form != "input" and done.path.suffix in (".csv", ".tsv", ".parquet"):
            for _, command in next_steps(session.audit, self.audit)[2:]:
                output.say(f"next: {command.removesuffix('corrected.csv')}{shlex.quote(str(self.export))}")
        for note in done.notes:
            output.note(note)
        return 0

    def _serve(self, session: Session) -> int:
        from noisylabels.audit.review.server import serve

        def announce(address: str, once: str) -> None:
            output.say(f"{session.audit.name}: {_state(session)}")
            output.say(f"review at {address}")
            output.say("Press Ctrl-C to stop; each decision is saved at once")
            if self.browser and _has_display():
                import webbrowser

                threading.Thread(target=webbrowser.open, args=(once,), daemon=True).start()

        serve(session, self.port, announce, self.escape_formulas)
        output.say(
            f"\n{_state(session)}; to export the labels: noisylabels review {shlex.quote(str(self.audit))} "
            "--export corrected.csv"
        )
        return 0


def _state(session: Session) -> str:
    progress, flagged = session.progress(), int(session.audit.flagged.sum())
    return (
        f"{flagged:,} of {len(session.audit):,} labels flagged, {progress['decided']:,} decided, "
        f"{progress['changed']:,} of them changed"
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # the user of a container can have no name
        return ""


def _has_display() -> bool:
    """Return whether a browser can open a window; without one, Python may start a browser in the terminal."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
