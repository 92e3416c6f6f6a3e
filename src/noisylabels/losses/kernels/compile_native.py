"""Compile `native.c` beside itself: when the package is installed, or by ``python compile_native.py``.

It needs nothing but the standard library and a C compiler: ``$CC``, or cc. It writes one file per instruction
set that the compiler supports; `native.py` loads the fastest that the CPU supports.
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

# No -ffast-math: infinities and NaN must propagate. No contraction: the source uses FMA where it is meant.
FLAGS = ("-std=c11", "-O3", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off")

GENERATIONS = {
    "avx512": ["-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mfma", "-mprefer-vector-width=512"],
    "avx2": ["-mavx2", "-mfma"],
    "plain": [],
}


def source_number() -> int:
    """Return a checksum of `native.c`; it is compiled into the kernel and compared when that is loaded."""
    return zlib.crc32((HERE / "native.c").read_bytes()) & 0x7FFFFFFF


def compile_native(folder: Path = HERE, generations: tuple[str, ...] = tuple(GENERATIONS)) -> list[Path]:
    """Compile `native.c` into `folder` once per instruction set, replacing old files; return the new ones.

    Raises:
        OSError: no compiler was found.
        subprocess.CalledProcessError: the version without special instructions did not compile.
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
        with tempfile.TemporaryDirectory(dir=folder) as room:  # other processes never read a partial file
            raw = Path(room) / "native.so"
            command = [*compiler, *FLAGS, *GENERATIONS[name], "-fPIC", "-shared", "-pthread"]
            command.append(f"-DABI={source_number()}")
            command += ["-o", str(raw), str(HERE / "native.c"), "-lm"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                raw.replace(file)
                made.append(file)
            elif name == "plain":  # an old compiler may not support the others
                raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return made


def main() -> None:
    """Compile the kernel, or exit with one line that gives the reason."""
    try:
        made = compile_native()
    except OSError as error:
        sys.exit(
            f"no C compiler found ({error}), so the losses use torch's operations; install one, or set CC"
        )
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.cmd[0]} could not compile native.c: {error.stderr.strip()}")
    print("compiled", *(file.name for file in made))


if __name__ == "__main__":
    main()
