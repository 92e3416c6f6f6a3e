"""The build hook: compiles the losses' kernel into the package where there is a C compiler."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

KERNELS = Path("src/noisylabels/losses/kernels")


class CompileNative(BuildHookInterface):
    """A wheel of this platform with the kernel; without a compiler one of every platform, without it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, for a wheel and for an editable installation alike."""
        if self.target_name != "wheel" or os.name == "nt":
            return
        compile_native = runpy.run_path(str(Path(self.root, KERNELS, "compile_native.py")))["compile_native"]
        try:
            made = compile_native()
        except OSError:
            self.app.display_warning("no C compiler: the losses will compute with torch's operations")
        except subprocess.CalledProcessError as error:
            self.app.display_warning(f"the losses will compute with torch's operations: {error.stderr}")
        else:
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{_platform()}"
            build_data["artifacts"] += [str(KERNELS / file.name) for file in made]


def _platform() -> str:
    """Return the platform as wheels name it; of macOS 11 and later they know no minor version."""
    name = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return re.sub(r"^macosx_(1[1-9]|[2-9]\d)(_\d+)?_", r"macosx_\1_0_", name)
