"""Take the screenshots of the audit page and the review page in docs/screenshots with headless Chromium.

python docs/make_screenshots.py

The screenshots show the folder that docs/tutorial.md creates. Requires playwright, and Chromium or Chrome on
the PATH.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent
SIZE = {"width": 1200, "height": 760}


def shots(audit: Path, environment: dict[str, str]) -> dict[str, bytes]:
    """Return PNGs of the audit page and of the review page after some decisions."""
    from playwright.sync_api import sync_playwright

    browser_path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    command = [sys.executable, "-m", "noisylabels", "review", str(audit), "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert server.stdout is not None
        lines = (re.match(r"review at (\S+)", line) for line in server.stdout)
        address = next(found[1] for found in lines if found)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
            page = browser.new_page(viewport=SIZE)
            page.goto((audit / "page.html").as_uri())
            page.wait_for_timeout(1000)
            made = {"audit": page.screenshot()}
            page.goto(address)
            page.wait_for_selector("html[data-shown]")
            for key in "sssssssn":
                page.keyboard.press(key)
                page.wait_for_timeout(400)
            page.wait_for_timeout(1000)
            made["review"] = page.screenshot()
            browser.close()
        return made
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Create the folder of the tutorial, audit it, and write the screenshots."""
    from PIL import Image

    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(# make_photos.py\n.*?)```", text, re.DOTALL)
    folder = DOCS / "screenshots"
    folder.mkdir(exist_ok=True)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONUNBUFFERED": "1",
    }
    with tempfile.TemporaryDirectory() as temporary:
        subprocess.run([sys.executable, "-c", program], cwd=temporary, check=True)
        command = [sys.executable, "-m", "noisylabels", "audit", "photos", "--out", "photos-audit"]
        subprocess.run(command, cwd=temporary, env=environment, check=True)
        for name, png in shots(Path(temporary, "photos-audit"), environment).items():
            Image.open(io.BytesIO(png)).convert("RGB").save(folder / f"{name}.webp", quality=80, method=6)


if __name__ == "__main__":
    main()
