"""The renderer in a process of its own: its crash is one line, and figures are those of vl_convert."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import vl_convert

import noisylabels
from noisylabels.core.checks import InputError
from noisylabels.report import renderer
from noisylabels.report.renderer import CALLS, render

SPEC = {
    "mark": "bar",
    "data": {"values": [{"a": 1}]},
    "encoding": {"x": {"field": "a", "type": "quantitative"}},
}


def test_figures_are_those_of_vl_convert():
    svg = render("vegalite_to_svg", vl_spec=SPEC, vl_version="6.4")
    assert svg == vl_convert.vegalite_to_svg(SPEC, vl_version="6.4")
    assert render("svg_to_png", svg=svg, scale=2.0) == vl_convert.svg_to_png(svg, scale=2.0)
    assert render("svg_to_pdf", svg=svg).startswith(b"%PDF")
    assert render("javascript_bundle") == vl_convert.javascript_bundle()
    assert all(hasattr(vl_convert, call) for call in CALLS if call != "html")


def test_an_error_of_the_renderer_has_its_message_and_leaves_it_usable():
    with pytest.raises(RuntimeError, match=r"ValueError: .*"):
        render("vegalite_to_svg", vl_spec={"mark": 7}, vl_version="6.4")
    assert render("vegalite_to_svg", vl_spec=SPEC, vl_version="6.4").startswith("<svg")


def test_a_crash_is_one_error_and_the_next_call_starts_it_again():
    render("javascript_bundle")
    process = renderer._KEPT.process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(
        InputError, match="renderer of figures ended by SIGKILL, as it does where memory is lim"
    ):
        render("javascript_bundle")
    assert render("vegalite_to_svg", vl_spec=SPEC, vl_version="6.4").startswith("<svg")


def test_it_ends_with_the_process_that_started_it():
    code = (
        "from noisylabels.report import renderer as r\n"
        "r.render('javascript_bundle')\n"
        "print(r._KEPT.process.pid)\n"
    )
    source = {"PYTHONPATH": str(Path(noisylabels.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | source
    )
    assert not Path(f"/proc/{int(done.stdout)}").exists()
    assert done.stderr == ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is Linux's")
@pytest.mark.parametrize(
    "words", [["loss", "ce", "--plot", "loss.svg"], ["loss", "ce", "--plot", "loss.html"]]
)
def test_drawing_under_a_memory_limit_is_one_line(words: list[str], tmp_path: Path):
    source = {"PYTHONPATH": str(Path(noisylabels.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "noisylabels", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | source,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30)),
    )
    assert done.returncode == 2
    assert done.stderr.startswith("noisylabels: the renderer of figures ended ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
