"""``noisylabels --version``: the version, and what a bug report needs beside it."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

PACKAGES = ("numpy", "scipy", "scikit-learn", "pyarrow", "pillow", "pydantic", "tyro")


def about() -> Iterator[str]:
    """Yield the version at once, then lines on Python, PyTorch, the packages, the extras and the kernel.

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
    """Return PyTorch's version, its GPU and the kernel of the losses, or why it cannot be imported."""
    try:
        import torch

        from noisylabels.losses import kernel_name
    except Exception as error:  # this is the command that reports a broken installation
        return f"PyTorch {_version('torch') or 'missing'}, which cannot be imported: {error}"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"PyTorch {torch.__version__}, {gpu}, compiled kernel of the losses: {kernel_name() or 'none'}"


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
