"""Fuzz the parsers written by hand, guided by the branches that an input reaches: pip install atheris.

`python -m campaign.fuzz idx --seconds 600` runs libFuzzer on a parser until it ends the time or finds an
error other than `InputError`; the input is then in a file, and `python -m campaign.fuzz idx FILE` repeats it.
"""

from __future__ import annotations

import argparse
import importlib
import io
import struct
import sys
import tempfile
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path

import numpy as np

Target = Callable[[bytes], object]


def _text(module: str, name: str) -> Target:
    """Return a target that decodes its input for a function of a text."""
    parse = attrgetter(name)(importlib.import_module(f"noisylabels.{module}"))
    return lambda content: parse(content.decode("utf-8", "surrogateescape"))


def _words(module: str, name: str) -> Target:
    """Return a target that splits its input into words."""
    parse = getattr(importlib.import_module(f"noisylabels.{module}"), name)
    return lambda content: parse(content.decode("utf-8", "surrogateescape").split("\0"))


def _file(module: str, name: str, suffix: str, *more: object) -> Target:
    """Return a target that writes its input to a file."""
    read = getattr(importlib.import_module(f"noisylabels.{module}"), name)
    path = Path(tempfile.mkdtemp(prefix="noisylabels-fuzz-")) / f"input{suffix}"

    def target(content: bytes) -> object:
        path.write_bytes(content)
        found = read(path, *more)
        return list(found) if hasattr(found, "__next__") else found

    return target


def _pickle() -> Target:
    from noisylabels.core.unpickle import read_table

    return lambda content: read_table(content, "the input")


def _npy(array: object = ((0.0, 1.0), (2.0, 3.0))) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(array))
    return file.getvalue()


ANNOTATIONS = {"worse_label": np.array([0, 1]), "clean_label": np.array([0, 0])}


TARGETS: dict[str, tuple[Callable[[], Target], tuple[bytes, ...]]] = {
    "augment": (
        lambda: _text("data.augment", "parse_augment"),
        (b"crop:4+flip+rand:2+cutout:16", b"noise:0.1+dropout:1e-3"),
    ),
    "delimited": (lambda: _file("core.delimited", "read_cells", ".csv"), (b'a,b\n"1,""",2\n', b"a\tb\r\n")),
    "duration": (lambda: _text("study.plan", "read_seconds"), (b"90m", b"1h30m")),
    "features": (lambda: _text("encoders.catalog", "parse_features"), (b"timm:resnet18@160",)),
    "flags": (lambda: _words("study.grid", "read_flags"), (b"lr=0.1\0loss=['ce']",)),
    "human": (lambda: _file("noise.human", "read_human", ".npy", "worse"), (_npy(ANNOTATIONS),)),
    "idx": (
        lambda: _file("data.idx", "read_idx", "-idx1-ubyte", 1),
        (struct.pack(">HBBI", 0, 8, 1, 3) + b"\0\1\2",),
    ),
    "json": (lambda: _file("core.files", "read_json", ".json"), (b'{"a": [1, 2.5e3, "\\ud83d\\ude00"]}',)),
    "loss": (lambda: _text("losses.expression", "read_terms"), (b"nce+linear(0.1,10)*mae", b"2*gce(q=0.7)")),
    "method": (
        lambda: _text("methods.expression", "method"),
        (b"elr(lambda_=3)", b"coteaching(forget_rate=0.4)"),
    ),
    "noise": (
        lambda: _text("noise.spec", "NoiseSpec.parse"),
        (b"longtail:0.1 | asymmetric:0.4@cifar10,sequential", b"asymmetric:0.3@1to2"),
    ),
    "npy": (lambda: _file("core.columnar", "read_array", ".npy"), (_npy(),)),
    "only": (lambda: _words("study.grid", "read_only"), (b"seed=1,2\0noise=sym*",)),
    "pickle": (_pickle, (b"\x80\x02}q\0X\x01\0\0\0aK\x01s.",)),
    "stage": (lambda: _text("noise.spec", "parse_stage"), (b"symmetric:0.4@exact",)),
    "table": (lambda: _file("core.tables", "read_table", ".tsv"), (b"id\tlabel\n1\tcat\n",)),
    "toml": (lambda: _file("core.config", "read_toml", ".toml"), (b'title = "a"\n[axes]\nloss = ["ce"]\n',)),
}
"""Parsers by name: what makes the target, and sound inputs to begin with."""


def guarded(target: Target) -> Callable[[bytes], None]:
    """Return a target for which an `InputError` is an answer; any other error is a finding."""
    from noisylabels.core.checks import InputError

    def answer(content: bytes) -> None:
        try:
            target(content)
        except InputError as error:
            if "\n" in str(error):
                raise AssertionError(f"an error of several lines: {error}") from None

    return answer


def main() -> int:
    """Fuzz a parser, or give it the input of a file."""
    parser = argparse.ArgumentParser(
        "python -m campaign.fuzz", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("parser", choices=sorted(TARGETS))
    parser.add_argument("input", nargs="?", type=Path, help="repeat a finding")
    parser.add_argument("--seconds", type=int, default=60, help="time limit (default: 60)")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    make, seeds = TARGETS[given.parser]
    if given.input is not None:
        guarded(make())(given.input.read_bytes())
        return 0
    import atheris

    with atheris.instrument_imports(include=["noisylabels"]):
        target = guarded(make())
    with tempfile.TemporaryDirectory(prefix="noisylabels-fuzz-") as corpus:
        for number, seed in enumerate(seeds):
            (Path(corpus) / f"seed{number}").write_bytes(seed)
        flags = [
            f"-max_total_time={given.seconds}",
            f"-seed={given.seed}",
            "-timeout=60",
            "-rss_limit_mb=2048",
        ]
        atheris.Setup([sys.argv[0], corpus, *flags], target)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
