"""A process of `warm_process` does what a new interpreter does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import noisylabels
import warm_process

if not sys.platform.startswith("linux"):
    pytest.skip("the tests that use it run on Linux", allow_module_level=True)

SOURCE = {"PYTHONPATH": str(Path(noisylabels.__file__).parents[1])}
PROGRAM = """
import os, signal, sys
print(__name__, sys.argv[1:], os.getcwd(), os.environ.get("SEEN"), sys.stdin.read())
print("and é", file=sys.stderr)
print(signal.getsignal(2), signal.getsignal(signal.SIGCHLD), *sorted(os.listdir("/proc/self/fd")))
import noisylabels
print(noisylabels.__file__, [path for path in sys.path if path != "" and "tests" in path])
sys.exit(7)
"""


def test_words_environment_folder_and_streams_are_those_asked_for(tmp_path):
    given = {"cwd": tmp_path, "env": os.environ | SOURCE | {"SEEN": "yes"}, "text": True}
    given |= dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    answers = []
    with (
        subprocess.Popen([sys.executable, "-c", PROGRAM, "a", "b c"], **given) as new,
        warm_process.WarmPopen(["-c", PROGRAM, "a", "b c"], **given) as warm,
    ):
        for process in (new, warm):
            answers.append((*process.communicate("typed"), process.returncode))
    assert answers[0] == answers[1]
    assert answers[1][2] == 7


def test_a_module_is_run_and_an_error_printed():
    done = warm_process.run(["-m", "noisylabels", "train", "--loss", "nec"], env=os.environ | SOURCE)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("noisylabels: ")
    failed = warm_process.run(["-c", "raise ValueError('é')"])
    assert failed.returncode == 1
    assert failed.stderr.endswith("ValueError: é\n")


def test_it_has_imported_torch_and_has_one_thread():
    code = "import os, sys; print('torch' in sys.modules, len(os.listdir('/proc/self/task')))"
    assert warm_process.run(["-c", code]).stdout == "True 1\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(number):
    code = "import time; print('ready', flush=True); time.sleep(100)"
    with warm_process.WarmPopen(
        ["-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.send_signal(number)
        assert process.wait(20) == -number
