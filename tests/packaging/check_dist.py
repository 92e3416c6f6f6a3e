"""Install the wheel and the sdist of `make dist`, each into an empty environment, and try them.

``python tests/packaging/check_dist.py dist`` (`make check-dist`) needs nothing but the standard library and
a package index. `make dist` builds the wheel from the unpacked sdist with a C compiler, so the wheel shows
that the kernel is compiled; the sdist is installed without one, so it shows that none is needed. In the
wheel's environment every extra is then resolved with the tested versions, without being installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMOKE = Path(__file__).with_name("smoke.py")

UNPINNED = {"remote": "python-dateutil"}
"""Extras that need another release of a package than constraints.txt pins: botocore wants one below 3."""


def the_only(folder: Path, pattern: str) -> Path:
    """Return the one file of the folder that matches."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        sys.exit(f"{folder} has {len(found)} files {pattern}, expected one; run `make dist`")
    return found[0]


def check_contents(wheel: Path) -> None:
    """Check that the wheel holds every source file of the package, and compiled kernels besides."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("noisylabels/")}
    source = ROOT / "src"
    expected = {
        path.relative_to(source).as_posix()
        for path in (source / "noisylabels").rglob("*")
        if path.is_file() and path.suffix not in {".pyc", ".so"}
    }
    extra = {name for name in names - expected if not name.startswith("noisylabels/losses/kernels/_native-")}
    if expected - names or extra:
        sys.exit(f"{wheel.name} lacks {sorted(expected - names)} and has beside them {sorted(extra)}")


def relative_links(markdown: str) -> list[str]:
    """Return the targets of links and pictures outside code blocks that need the repository's files."""
    text = re.sub(r"^```.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in targets if "://" not in target and not target.startswith("#")]


def check_metadata(wheel: Path) -> Message:
    """Check that a package index can show the wheel's description, and return the metadata."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        found = HeaderParser().parsestr(archive.read(name).decode("utf-8"))
    description = found.get_payload()
    if found["Description-Content-Type"] != "text/markdown" or not description:
        sys.exit(f"{wheel.name} has no description in Markdown")
    if broken := relative_links(description):
        sys.exit(f"the description of {wheel.name} has links that lead nowhere on an index: {broken}")
    return found


def resolve_extras(python: str, wheel: Path, extras: list[str], folder: str) -> None:
    """Resolve every extra with the tested versions; a conflict ends the script with pip's own message."""
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    for extra in extras:
        free = UNPINNED.get(extra)
        constraints = Path(folder, "constraints.txt")
        constraints.write_text("\n".join(pin for pin in pins if pin.partition("==")[0] != free))
        dry = [python, "-m", "pip", "install", "--quiet", "--dry-run", "--constraint", str(constraints)]
        subprocess.run([*dry, f"{wheel.resolve()}[{extra}]"], check=True, cwd=folder)
        print(f"{wheel.name}[{extra}] can be installed", flush=True)


def install_and_try(archive: Path, kernel: str, compiler: str | None, extras: list[str]) -> None:
    """Install the archive into a fresh environment, run `smoke.py` there and resolve the extras.

    Args:
        archive: the wheel or the sdist.
        kernel: "present" or "absent", as it must be afterwards.
        compiler: the command in ``CC`` while it is installed; None leaves ``CC`` as it is.
        extras: the names of those that are resolved afterwards.
    """
    print(f"{archive.name}: installed with CC={compiler or 'the default'}, kernel {kernel}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        if compiler is not None:
            environment["CC"] = compiler
        subprocess.run([sys.executable, "-m", "venv", f"{folder}/venv"], check=True)
        python = str(Path(folder, "venv", "Scripts" if os.name == "nt" else "bin", "python"))
        constraints = ["--constraint", str(ROOT / "constraints.txt")]
        install = [python, "-m", "pip", "install", "--quiet", *constraints, str(archive.resolve())]
        subprocess.run(install, check=True, cwd=folder, env=environment)
        smoke = [python, "-W", "error", str(SMOKE), "--kernel", kernel]
        subprocess.run(smoke, check=True, cwd=folder, env=environment)
        resolve_extras(python, archive, extras, folder)


def main() -> None:
    """Check what is in the folder that the command line names."""
    if len(sys.argv) != 2:
        sys.exit("usage: check_dist.py FOLDER")
    wheel, sdist = (the_only(Path(sys.argv[1]), pattern) for pattern in ("*.whl", "*.tar.gz"))
    check_contents(wheel)
    extras = check_metadata(wheel).get_all("Provides-Extra", [])
    install_and_try(wheel, "present", None, extras)
    install_and_try(sdist, "absent", "no-such-compiler", [])
    print("wheel and sdist install and work")


if __name__ == "__main__":
    main()
