"""The build's hooks: compile the losses' kernel into the package, and write the README for package indexes."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

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


class ReadmeForIndexes(MetadataHookInterface):
    """The README without links relative to the repository, which lead nowhere on a package index."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the readme, and the address of the project where it is known."""
        repository = str(self.config["repository"]).rstrip("/")
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        readme = with_absolute_links(text, repository, f"v{metadata['version']}")
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}
        metadata["urls"] = addresses(repository, f"v{metadata['version']}")


def addresses(repository: str, tag: str) -> dict[str, str]:
    """Return the project's URLs by the labels that package indexes know; none without a repository."""
    if not repository:
        return {}
    return {
        "Source": repository,
        "Documentation": f"{repository}/blob/{tag}/docs/README.md",
        "Changelog": f"{repository}/blob/{tag}/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }


def with_absolute_links(text: str, repository: str, tag: str) -> str:
    """Return Markdown whose relative links lead to the files of a tag; code blocks stay as they are.

    Without a repository, a link becomes its text with the path of the file in the sdist, and a picture goes.
    """

    def absolute(found: re.Match[str]) -> str:
        picture, words, link = found[1], found[2], found[3]
        if "://" in link or link.startswith(("#", "mailto:")):
            return found[0]
        if repository:
            return f"{picture}[{words}]({repository}/{'raw' if picture else 'blob'}/{tag}/{link})"
        path = link.partition("#")[0]
        return "" if picture else path if words == path else f"{words} (`{path}`)"

    parts = re.split(r"(^```.*?^```)", text, flags=re.MULTILINE | re.DOTALL)
    linked = [
        part if i % 2 else re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", absolute, part)
        for i, part in enumerate(parts)
    ]
    return re.sub(r"\n{3,}", "\n\n", "".join(linked))
