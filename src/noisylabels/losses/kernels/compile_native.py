"""Compiles `native.c` beside itself: when the package is installed, and by ``python compile_native.py``.

It takes nothing but the standard library and a C compiler: ``$CC``, or cc. Every generation of processors
that the compiler knows gets a file of its own, and `native.py` takes the best that the machine can run.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

HERE = Path(__file__).parent

# No -ffast-math: infinities and NaN are to go through. No contraction: the source says where it is meant.
FLAGS = ("-std=c11", "-O3", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off")

GENERATIONS = {
    "avx512": ["-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mfma", "-mprefer-vector-width=512"],
    "avx2": ["-mavx2", "-mfma"],
    "plain": [],
}


def source_number() -> int:
    """Return a number that tells `native.c` from other versions: compiled in, and asked for when loaded."""
    return zlib.crc32((HERE / "native.c").read_bytes()) & 0x7FFFFFFF


def compile_native(folder: Path = HERE, generations: tuple[str, ...] = tuple(GENERATIONS)) -> list[Path]:
    """Compile `native.c` for each generation into `folder`; return the files. What was there before goes.

    Raises:
        OSError: there is no compiler.
        subprocess.CalledProcessError: it could not compile what every processor can run.
    """
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    intel = platform.machine().lower() in ("x86_64", "amd64")
    made = []
    for name in generations:
        (folder / f"_native-{name}.so").unlink(missing_ok=True)
    for name in generations:
        file = folder / f"_native-{name}.so"
        if name != "plain" and not intel:
            continue
        with tempfile.TemporaryDirectory(dir=folder) as room:  # no other process sees half a file
            raw = Path(room) / "native.so"
            command = [*compiler, *FLAGS, *GENERATIONS[name], "-fPIC", "-shared", "-pthread"]
            command.append(f"-DABI={source_number()}")
            command += ["-o", str(raw), str(HERE / "native.c"), "-lm"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                raw.replace(file)
                made.append(file)
            elif name == "plain":  # of the others an old compiler may know nothing
                raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return made


def main() -> None:
    """Compile, or say in a line why not."""
    try:
        made = compile_native()
    except OSError as error:
        sys.exit(
            f"no C compiler ({error}): the losses compute with torch's operations; install one, or set CC"
        )
    except subprocess.CalledProcessError as error:
        sys.exit(f"native.c could not be compiled by {error.cmd[0]}: {error.stderr.strip()}")
    print("compiled", *(file.name for file in made))


if __name__ == "__main__":
    main()
