"""Build the documentation site in site/ with zensical, treating warnings as errors (make docs).

The script copies the documents to build/docs, with the README as home page, the images of results/ that they
show, and the API reference from docstrings. Links to files outside the site become plain text. It then checks
every link and anchor of the built site.

python docs/make_site.py [FOLDER]     build in FOLDER, for tests; the result is FOLDER/site
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

MOVED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "docs/README.md": "pages.md",
    "docs/losses/README.md": "losses/all.md",
    "docs/methods/README.md": "methods/all.md",
}
"""Site paths of documents outside docs/, and of those whose own path would clash with another page."""

PICTURES = (".svg", ".png", ".webp")


def documents() -> dict[str, str]:
    """Return the path of each document in the site's source, by its path in the repository."""
    found = [path.relative_to(ROOT).as_posix() for path in sorted(DOCS.rglob("*.md"))]
    return {name: name.removeprefix("docs/") for name in found} | MOVED


def stage(target: Path) -> None:
    """Copy the documents and their images, and rewrite links for the site."""
    shutil.rmtree(target, ignore_errors=True)
    places = documents()
    for name, place in places.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        page = target / place
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(_relinked(text, name, place, places, target), encoding="utf-8")
    shutil.copytree(DOCS / "site", target / "site-files")
    sys.path.insert(0, str(DOCS))
    import make_api

    make_api.main(target / "api")


def _relinked(text: str, name: str, place: str, places: dict[str, str], target: Path) -> str:
    """Return a document with its links rewritten for the site; code blocks stay as they are."""

    def moved(found: re.Match[str]) -> str:
        mark, words, link = found[1], found[2], found[3]
        path, anchor = urldefrag(link)
        if "://" in link or not path:
            return found[0]
        source = os.path.normpath((ROOT / name).parent / path)
        inside = Path(source).relative_to(ROOT).as_posix()
        if inside in places:
            there = places[inside]
        elif inside.endswith(PICTURES):
            there = inside.removeprefix("docs/")
            (target / there).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target / there)
        elif words.startswith("`") or words.endswith(Path(inside).name):  # a file of the repository only
            return f"`{inside}`"
        else:
            return f"{words} (`{inside}`)"
        link = os.path.relpath(there, Path(place).parent) + (f"#{anchor}" if anchor else "")
        return f"{mark}[{words}]({link})"

    parts = re.split(r"(^```.*?^```)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(
        part if i % 2 else re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", moved, part)
        for i, part in enumerate(parts)
    )


class _Page(HTMLParser):
    """Collect the links and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Record links and anchors."""
        for key, value in attributes:
            if key == "id" and value:
                self.anchors.add(value)
            if key in ("href", "src") and value:
                self.links.append(value)


def broken(site: Path) -> list[str]:
    """Return one line for each broken link or anchor of a site."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    lines = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue
        for link in page.links:
            split = urlsplit(link)
            if split.scheme or split.netloc:
                continue
            there = (path.parent / unquote(split.path)).resolve() if split.path else path
            there = there / "index.html" if there.is_dir() else there
            if not there.exists():
                lines.append(f"{path.relative_to(site)}: {link} leads nowhere")
            elif split.fragment and there in pages and unquote(split.fragment) not in pages[there].anchors:
                lines.append(f"{path.relative_to(site)}: {link}: no such anchor")
    return lines


def build(folder: Path) -> Path:
    """Build the site in a folder and return its path; a warning or a broken link is an error."""
    stage(folder / "build" / "docs")
    if folder != ROOT:
        shutil.copyfile(ROOT / "zensical.toml", folder / "zensical.toml")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    plain = os.environ | {"NO_COLOR": "1"}
    done = subprocess.run(command, cwd=folder, env=plain, capture_output=True, text=True, check=False)
    if done.returncode:  # its output without the traceback
        raise SystemExit(f"{done.stdout}{done.stderr.partition('Traceback')[0]}")
    site = (folder / "site").resolve()
    if found := broken(site):
        raise SystemExit("\n".join(found))
    return site


if __name__ == "__main__":
    print(build(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT))
