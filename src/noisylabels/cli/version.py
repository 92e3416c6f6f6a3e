"""``noisylabels --version``: the version, and what a bug report needs beside it.

Nothing is imported for it, so that it takes no time and works where PyTorch is broken.
"""

from __future__ import annotations

import importlib.util
import platform
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

PACKAGES = ("numpy", "scipy", "scikit-learn", "pyarrow", "pillow", "pydantic", "tyro")


def about() -> Iterator[str]:
    """Yield the version at once, then lines on Python, PyTorch, the packages and the extras.

    >>> next(about()).startswith("noisylabels ")
    True
    """
    import noisylabels
    from noisylabels.core.process import processor

    yield f"noisylabels {noisylabels.__version__}"
    yield f"installed in {Path(noisylabels.__file__).parent}"
    yield f"Python {platform.python_version()}, {platform.platform()}, {processor()}"
    yield _torch()
    yield ", ".join(f"{name} {_version(name) or 'missing'}" for name in PACKAGES)
    yield _extras()


def _torch() -> str:
    """Return PyTorch's version, the GPUs, and the compiled kernels of the losses."""
    from noisylabels.core.checks import InputError
    from noisylabels.core.files import read_text
    from noisylabels.core.process import gpu_names

    spec = importlib.util.find_spec("torch")
    version = _version("torch") or "missing"
    if spec is not None and spec.origin is not None:  # its own file says which build it is: 2.13.0+cpu
        try:
            text = read_text(Path(spec.origin).with_name("version.py"))
        except InputError:
            text = ""
        found = re.search(r"^__version__ = ['\"]([^'\"]+)", text, re.MULTILINE)
        version = found[1] if found else version
    kernels = Path(__file__).parents[1].glob("losses/kernels/_native-*.so")
    compiled = sorted(path.stem.removeprefix("_native-") for path in kernels)
    gpus, kernels_there = ", ".join(gpu_names()) or "no NVIDIA GPU", ", ".join(compiled) or "none"
    return f"PyTorch {version}, {gpus}, compiled kernels of the losses: {kernels_there}"


def _extras() -> str:
    """Return which extras have all their packages, by the metadata of the installed package."""
    try:
        wanted = metadata.requires("noisylabels") or []
    except metadata.PackageNotFoundError:
        return "extras: unknown, as the package is not installed"
    packages: dict[str, list[str]] = {}
    for line in wanted:
        if extra := re.search(r"extra == ['\"]([\w-]+)['\"]", line):
            packages.setdefault(extra[1], []).append(re.split(r"[^\w.-]", line)[0])
    complete = [extra for extra, names in packages.items() if all(map(_version, names))]
    return f"extras: {', '.join(sorted(complete)) or 'none'}"


def _version(name: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
