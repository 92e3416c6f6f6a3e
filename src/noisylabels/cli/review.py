"""``noisylabels review``: a page on which a person goes through the doubtful labels, and their export."""

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

if TYPE_CHECKING:
    from noisylabels.audit.review.session import Session


@dataclass
class Review:
    """Go through the doubtful labels of an audit by keyboard, in the browser; write corrected labels.

    noisylabels review photos-audit

    noisylabels review photos-audit --export corrected.csv

    noisylabels review photos-audit --export photos-corrected

    Decisions are saved one by one in the audit's folder (review.sqlite). The page is for this machine only.
    """

    audit: Annotated[Path, tyro.conf.Positional]
    """folder that `noisylabels audit` wrote"""
    export: Path | None = None
    """write corrected labels there instead of serving the page: NAME.csv, .tsv or .parquet with the columns
    id,label; any other name the data's own form (a folder of images as a new folder, .npz as .npz)"""
    form: Literal["auto", "labels", "input"] = "auto"
    """of the export: labels (id,label), input (the data's own: also a table as that table, Parquet as that
    Parquet), or auto, by the name"""
    overwrite: bool = False
    """let the export replace a file that is there"""
    port: int = 0
    """of the page on 127.0.0.1 (0: a free one)"""
    browser: bool = True
    """open the page in the browser"""
    outside: bool = False
    """show also pictures that lie outside the data's folder, by links or by paths such as ../1.jpg"""
    reviewer: str = ""
    """who decides; undo takes back one's own (default: the user's name)"""

    def run(self) -> int:
        """Serve the page until Ctrl-C, or export."""
        from noisylabels.audit.review.session import Session

        session = Session(self.audit.expanduser(), self.reviewer or _user(), self.outside)
        try:
            for note in session.notes():
                print(f"note: {note}", file=sys.stderr)
            return self._export(session) if self.export is not None else self._serve(session)
        finally:
            session.store.close()

    def _export(self, session: Session) -> int:
        from noisylabels.audit.page import next_steps
        from noisylabels.audit.review.export import export

        assert self.export is not None
        done = export(session, self.export.expanduser(), self.form, self.overwrite)
        left_out = f", {done.left_out:,} left out" if done.left_out else ""
        print(f"{done.path}: {done.labels:,} labels, {done.changed:,} of them corrected{left_out}")
        if self.form != "input" and done.path.suffix in (".csv", ".tsv", ".parquet"):
            for _, command in next_steps(session.audit, self.audit)[2:]:
                print(f"next: {command.removesuffix('corrected.csv')}{shlex.quote(str(self.export))}")
        for note in done.notes:
            print(f"note: {note}", file=sys.stderr)
        return 0

    def _serve(self, session: Session) -> int:
        from noisylabels.audit.review.server import serve

        def announce(address: str, once: str) -> None:
            print(f"{session.audit.name}: {_state(session)}", flush=True)
            print(f"review at {address}", flush=True)
            print("Ctrl-C ends it; every decision is saved at once", flush=True)
            if self.browser and _has_display():
                import webbrowser

                threading.Thread(target=webbrowser.open, args=(once,), daemon=True).start()

        serve(session, self.port, announce)
        print(
            f"\n{_state(session)}; `noisylabels review {self.audit} --export corrected.csv` writes the labels"
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
    except (OSError, KeyError, ImportError):  # a container's user without a name
        return ""


def _has_display() -> bool:
    """Return whether a browser would have a window; without one Python may start one in the terminal."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
