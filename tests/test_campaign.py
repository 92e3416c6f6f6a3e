"""The campaign of damaged files, kills and faults: a minute of it finds nothing, and its oracle can find."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

import noisylabels
from noisylabels.core.checks import InputError

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from campaign.cases import GENERATORS, Case, Generator, Place, load_generators  # noqa: E402
from campaign.draw import Draw  # noqa: E402
from campaign.fuzz import TARGETS, guarded  # noqa: E402
from campaign.kills import compared, difference  # noqa: E402
from campaign.oracle import fingerprint, judge  # noqa: E402
from campaign.patience import Limit, waited  # noqa: E402
from campaign.running import Bench  # noqa: E402
from campaign.table import COLUMNS, main, markdown  # noqa: E402

if not sys.platform.startswith("linux"):
    pytest.skip("the campaign watches processes as Linux shows them", allow_module_level=True)


@pytest.mark.slow
def test_half_a_minute_finds_nothing(tmp_path: Path):
    source = str(Path(noisylabels.__file__).parents[1])
    words = ["--seed", "0", "--minutes", "0.4"]  # more with the cases that have begun when the time is up
    done = subprocess.run(
        [sys.executable, "-m", "campaign", *words, "--out", str(tmp_path / "table")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": source},
        capture_output=True,
        text=True,
    )
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["findings"] == [], done.stdout
    assert done.returncode == 0, done.stderr
    assert sum(row["cases"] for row in table["rows"].values()) > 0  # few where the machine has other work


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path / "case", tmp_path / "base")
    made.make()
    return made


def found(place: Place, code: int | None = 0, output: bytes = b"", written: tuple[str, ...] = ()) -> str:
    before = fingerprint(Place(place.root, place.base).outside)
    return "; ".join(judge(place, code, output, before, written).findings)


def test_a_sound_outcome_is_no_finding(place: Place):
    (place.inside / "t.csv").write_text("a,b\n1,2\n")
    assert found(place, 0, b"done\n", ("t.csv", "none.npz")) == ""
    assert found(place, 2, b"note: a\nnoisylabels: one line\n") == ""
    assert found(place, 1, b"noisylabels: training diverged\n") == ""


@pytest.mark.parametrize(
    ("code", "output", "words"),
    [
        (70, b"noisylabels: internal error: KeyError: 'a'\n", "exit code 70: noisylabels: internal error"),
        (-11, b"", "ended by signal 11"),
        (None, b"", "no end within the time limit"),
        (0, b"Traceback (most recent call last):\n  File\nKeyError: 1\n", "traceback: KeyError: 1"),
        (0, b"/x/a.py:7: RuntimeWarning: divide by zero\n", "warning: /x/a.py:7"),
        (0, b"class \x1b[31mred\n", "unprintable: U+001B"),
        (0, "class \u202ered\n".encode(), "unprintable: U+202E"),
        (2, b"", "error of 0 lines"),
        (2, b"noisylabels: a\nnoisylabels: b\n", "error of 2 lines"),
        (2, b"noisylabels: " + b"9" * 5000 + b"\n", "error of 5,013 characters"),
    ],
)
def test_the_oracle_finds_by_code_and_output(place: Place, code, output, words):
    assert words in found(place, code, output)


def test_the_oracle_finds_by_files(place: Place):
    before = fingerprint(place.outside)
    (place.outside / "precious0.txt").write_text("")
    (place.outside / "new.txt").write_text("")
    place.marker.write_text("")
    (place.root / "tmp" / "left").write_text("")
    (place.inside / ".labels.csv.x.tmp").write_text("")
    (place.inside / "t.json").write_text('{"a": ')
    (place.inside / "t.csv").write_text("a,b\n1\n")
    lines = judge(place, 0, b"", before, ("t.json", "t.csv"), grown=2 * 10**9).findings
    wanted = ("touched outside: new", "touched outside: precious0", "code run", "left outside: tmp/left")
    wanted += ("left behind: .labels", "half-written: t.json", "half-written: t.csv", "memory: 2.0 GB")
    assert len(lines) == len(wanted)
    assert [word for word in wanted if not any(line.startswith(word) for line in lines)] == []


def test_a_limit_does_not_count_waiting_for_a_processor(monkeypatch):
    process = os.getpid()
    assert all(seconds >= 0 for seconds in waited(process).values())
    monkeypatch.setattr("campaign.patience.waited", lambda _: {"new": 3.0})
    assert 0 < Limit(process, 1.0).left() <= 1
    late = Limit(process, 0.2)
    time.sleep(0.3)
    assert 1.6 < late.left() < 1.8  # at most ten times the limit
    monkeypatch.setattr("campaign.patience.waited", lambda _: {})
    assert late.left() < 0


@pytest.mark.parametrize(("times", "found"), [(1, ()), (2, ("ended by signal 9",))])
def test_a_case_that_was_killed_is_run_again(tmp_path: Path, times: int, found: tuple[str, ...]):
    """Another program on the machine, or too little memory for all of them, is no finding."""

    def call() -> int:
        count = len(list(tmp_path.glob("killed*")))
        if count < times:
            (tmp_path / f"killed{count}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    (tmp_path / "work" / "base").mkdir(parents=True)
    bench = Bench(tmp_path / "work", 1, [Generator("killed", lambda draw, place: Case(call=call), 1.0)])
    (result,) = bench.run([7])
    assert (result.number, result.outcome.findings) == (7, found)


def test_a_case_that_hangs_is_found(tmp_path: Path):
    (tmp_path / "base").mkdir()
    hung = Generator("hung", lambda draw, place: Case(call=lambda: time.sleep(600)), 1.0)
    (result,) = Bench(tmp_path, 1, [hung], seconds=1.0).run([0])
    assert result.outcome.findings == ("no end within the time limit",)
    assert "test_campaign.py" in result.outcome.output  # where it hangs


def test_other_results_after_a_kill_are_found(place: Place):
    from campaign.jobs import Job
    from campaign.kills import Sound

    job = Job("count", (), lambda place: len(list(place.inside.iterdir())))
    assert compared(job, place, 0, Sound(0, 1.0)) == []
    (line,) = compared(job, place, 0, Sound(1, 1.0))
    assert line == "results differ from those of the undisturbed run: the whole is '0', not '1'"
    assert "does not finish" in compared(job, place, 2, Sound(0, 1.0))[0]


def test_a_difference_is_named():
    sound = {"a": ["x", [{"loss": 1.0}, {"loss": 2.0}]], "b": [1]}
    assert difference(sound, sound) == ""
    assert (
        difference({"a": ["x", [{"loss": 1.0}, {"loss": 3.0}]], "b": [1]}, sound)
        == "/a/1/1/loss is '3.0', not '2.0'"
    )
    assert difference({"b": [1]}, sound).startswith("/a is 'None', not ")
    assert difference(sound | {"b": [1, 2]}, sound) == "/b is '[1, 2]', not '[1]'"


def test_a_number_gives_the_same_case_again(tmp_path: Path):
    rows = {row.name: row for row in load_generators()}
    assert len(rows) == len(GENERATORS) >= 25
    made = []
    for again in range(2):
        for name in ("table of features", "npz set", "image files", "loss expression", "recipe", "IDX files"):
            place = Place(tmp_path / f"{again}-{name}", tmp_path)
            place.make()
            case = rows[name].make(Draw(3, 14), place)
            files = {key: value[2] for key, value in fingerprint(place.inside).items()}
            made.append((name, list(case.words), files))
    assert made[: len(made) // 2] == made[len(made) // 2 :]
    assert Draw(3, 14).random() != Draw(3, 15).random() != Draw(4, 14).random()


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_parser_accepts_its_sound_inputs_and_refuses_others(name: str):
    make, seeds = TARGETS[name]
    target = make()
    answer = guarded(target)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in seeds:
            target(seed)
            for content in (b"", seed[:-2], b"\xff" + seed, seed * 2, b"1if " + seed, b"0x1for " + seed):
                answer(content)


def test_a_parser_that_fails_otherwise_is_found():
    def parse(content: bytes) -> None:
        if content == b"lines":
            raise InputError("two\nlines")
        raise KeyError(content)

    with pytest.raises(KeyError):
        guarded(parse)(b"a")
    with pytest.raises(AssertionError, match="several lines"):
        guarded(parse)(b"lines")


def test_the_table_adds_up():
    rows = {name: dict.fromkeys(COLUMNS, k) for k, name in enumerate("abc")}
    about = {"title": "T", "command": "python -m campaign", "minutes": 3.0, "machine": "M"}
    text = markdown(about, rows)
    assert "| **all** | 3 | 3 | 100 % | 3 | 3 | 3 | 3 |" in text
    assert "| c | 2 | 2 | 100 % | 2 | 2 | 2 | 2 |" in text


def test_campaigns_add_up_with_what_they_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = {"a": dict.fromkeys(COLUMNS, 2) | {"cases": 8}}
    campaign = {"command": "python -m campaign --seed 1", "minutes": 3.2, "rows": rows}
    finding = {"repeat": "r", "generator": "a", "words": [], "findings": ["warning: /home/x/lib/a.py:7: W"]}
    campaign["findings"] = [finding | {"output": "/home/x"}]
    reach = {"lines": 10, "branches": 4}
    measured = {"sound": {"core": reach | {"reached": 5, "taken": 1}}}
    measured |= {"coverage": {"core": reach | {"reached": 8, "taken": 2}}}
    for name, each in {"x": campaign, "y": campaign | measured}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(each))
    words = ["table", str(tmp_path / "x.json"), str(tmp_path / "y.json"), "--out", str(tmp_path / "z")]
    monkeypatch.setattr(sys, "argv", words)
    main()
    text = (tmp_path / "z.md").read_text()
    assert "| **all** | 16 | 4 | 25 % | 4 | 4 | 4 | 4 |" in text
    assert "| `python -m campaign --seed 1` | 8 | 2 | 2 | 3 |" in text
    assert "| core | 10 | 50.0 % | 80.0 % | 4 | 25.0 % | 50.0 % |" in text
    assert "| **all** | 10 | 50.0 % | 80.0 % | 4 | 25.0 % | 50.0 % |" in text
    made = json.loads((tmp_path / "z.json").read_text())["campaigns"]
    assert [each["findings"] for each in made] == [[finding | {"findings": ["warning: a.py:7: W"]}]] * 2
