"""Run the campaign: `python -m campaign --minutes 60 --seed 1`; see README.md."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from campaign import reached
from campaign.cases import load_generators
from campaign.running import SECONDS, Bench, Result, import_everything
from campaign.table import Counts, machine, write


def options() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser("python -m campaign", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1.0, help="time of the whole call (default: 1)")
    parser.add_argument("--cases", type=int, help="number of cases, in place of a time")
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first case, to go on where a campaign stopped"
    )
    parser.add_argument("--case", type=int, help="run this case alone and show its output")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        help="generators, or jobs of kills and faults, whose names contain this text",
    )
    parser.add_argument("--series", choices=("all", "cases", "kills", "faults"), default="all")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time limit of a case (default: 60)")
    parser.add_argument("--keep", action="store_true", help="with --case: keep its files")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.json")
    parser.add_argument(
        "--coverage", type=Path, help="with the package coverage: record lines and branches to this file"
    )
    return parser


def main() -> int:
    """Run what the command line asks for and return 1 if anything was found."""
    given = options().parse_args()
    began = time.monotonic()
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    coverage = given.coverage and given.coverage.absolute()
    if coverage and given.first == 0:
        reached.clear(coverage)
    imports = reached.start(coverage) if coverage else None
    import_everything()
    reached.stop(imports)
    work = Path(tempfile.mkdtemp(prefix="noisylabels-campaign-"))
    counts, known = _earlier(given)
    before = known.get("minutes", 0.0)
    last = given.first
    try:
        named = given.only if given.series == "cases" else ()
        bench = Bench(work, given.seed, load_generators(named), given.seconds, coverage)
        bench.only = given.only
        bench.make_bases()
        sound = reached.shares(coverage) if coverage and given.first == 0 else known.get("sound", {})
        if given.case is not None:
            return _one(bench, given)
        for done, (name, result) in enumerate(_all(bench, given, began)):
            _report(result, given, counts, name)
            last = max(last, result.number + 1)
            if done % 100 == 99:  # what ends the campaign early loses little
                _write(given, counts, before + (time.monotonic() - began) / 60, last, sound)
    finally:
        if not given.keep:
            shutil.rmtree(work, ignore_errors=True)
    done, valid, found = (f"{counts.total(column):,}" for column in ("cases", "valid", "findings"))
    print(f"{done} cases, {valid} of them valid, {found} findings, next --first {last}")
    _write(given, counts, before + (time.monotonic() - began) / 60, last, sound, ended=True)
    return 1 if counts.findings else 0


def _earlier(given: argparse.Namespace) -> tuple[Counts, dict[str, Any]]:
    """Return the counts and the record of the campaign that this call goes on with, if it does."""
    file = None if given.out is None else given.out.with_suffix(".json")
    if file is None or not file.exists():
        return Counts(), {}
    known = json.loads(file.read_text())
    same = (known["seed"], known["series"], known["next"]) == (given.seed, given.series, given.first)
    if not same or known["only"] != given.only or given.first == 0:
        return Counts(), {}
    counts = Counts(known["rows"])
    counts.findings = known["findings"]
    return counts, known


def _write(
    given: argparse.Namespace,
    counts: Counts,
    minutes: float,
    last: int,
    sound: reached.Rows,
    ended: bool = False,
) -> None:
    """Write the table of a campaign, and with coverage what it has reached."""
    shares = reached.shares(given.coverage.absolute()) if given.coverage and ended else {}
    if given.out is None:
        print(reached.markdown(sound, shares) if shares else "", end="")
        return
    about = {
        "title": "Campaign of damaged files, kills and faults",
        "command": _command(given, last),
        "seed": given.seed,
        "series": given.series,
        "only": given.only,
        "minutes": minutes,
        "machine": machine(),
        "next": last,
        "sound": sound,
        "coverage": shares,
    }
    write(given.out, about, counts)


def _command(given: argparse.Namespace, last: int) -> str:
    """Return the command that runs the same cases again."""
    words = ["python -m campaign", f"--seed {given.seed}", f"--series {given.series}"]
    words += [f"--only {word!r}" for word in given.only]
    size = f"--minutes {given.minutes:g}" if given.series == "all" else f"--cases {last}"
    return " ".join([*words, size])


def _all(bench: Bench, given: argparse.Namespace, began: float) -> Iterator[tuple[str, Result]]:
    """Run the series in turn, each for its share of the time; yield the results with the series' name."""
    from campaign.faults import run_faults
    from campaign.kills import run_kills

    shares = {"cases": 0.6, "kills": 0.3, "faults": 0.1}
    series = list(shares) if given.series == "all" else [given.series]
    left = 60 * given.minutes - (time.monotonic() - began)
    total = sum(shares[name] for name in series)
    for name in series:
        until = time.monotonic() + left * shares[name] / total
        until = until if given.cases is None else float("inf")
        if name == "cases":
            count = 1_000_000 if given.cases is None else given.cases
            results = bench.run(range(given.first, given.first + count), until)
        else:
            run = {"kills": run_kills, "faults": run_faults}[name]
            results = run(bench, given.first, given.cases, until)
        for result in results:
            yield name, result


def _report(result: Result, given: argparse.Namespace, counts: Counts, series: str) -> None:
    """Count a result and print a finding as it comes."""
    only = "".join(f" --only {word!r}" for word in given.only)
    repeat = f"python -m campaign --series {series} --seed {given.seed} --case {result.number}{only}"
    counts.add(result, repeat)
    if result.outcome.findings:
        print(f"{result.generator}: {'; '.join(result.outcome.findings)}\n  {repeat}", flush=True)


def _one(bench: Bench, given: argparse.Namespace) -> int:
    """Run one case and show everything about it."""
    from campaign.faults import run_faults
    from campaign.kills import run_kills

    if given.series in ("all", "cases"):
        results = bench.run([given.case])
    else:
        results = {"kills": run_kills, "faults": run_faults}[given.series](bench, given.case, 1, float("inf"))
    for result in results:
        print(
            json.dumps(
                {"generator": result.generator, "words": result.words, "code": result.outcome.code}, indent=1
            )
        )
        print(result.outcome.output)
        print("findings:", *(result.outcome.findings or ["none"]), sep="\n  ")
        if given.keep:
            print(f"files: {bench.place(given.case).root}")
        return 1 if result.outcome.findings else 0
    return 2


if __name__ == "__main__":
    sys.exit(main())
