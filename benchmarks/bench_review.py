"""Measure the time of a decision on the review page: by keyboard, in Chromium, on 10,000 images.

    python benchmarks/bench_review.py

The script makes a folder of synthetic photographs (JPEG files) and an audit of it, and reviews it one key at
a time, without pauses to think. A decision starts with the key and ends when the next image is painted and
the decision is saved. Two clocks measure it: the page's, from the key event to the frame with the next image,
and one outside the browser, which includes the automation. Writes review-MACHINE.json and .md into
results/benchmarks.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image
from rich.progress import track

from noisylabels.audit.result import Audit
from noisylabels.audit.review.session import Session
from noisylabels.bench.machine import ResultFolder, load, processor

CLASSES = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay")
KEYS = ("k", "s", "s", "2", "n", "x", "s", "k", "3", "s")
WATCH = """() => {
    window.times = [];
    let began = 0;
    addEventListener("keydown", (event) => { began = event.timeStamp; }, true);
    new MutationObserver(() => {
        const start = began;
        // the frame after the change is painted when the one behind it begins
        const end = () => window.times.push(performance.now() - start);
        requestAnimationFrame(() => requestAnimationFrame(end));
    }).observe(document.documentElement, {attributeFilter: ["data-shown"]});
}"""


@dataclass
class Options(ResultFolder):
    """Choose what to measure and where the results go."""

    images: int = 10_000
    """number of images in the folder"""
    side: int = 640
    """longer side of the images in pixels"""
    decisions: int = 200
    """number of decisions"""


def photographs(root: Path, n: int, side: int) -> list[str]:
    """Write n JPEG files, 200 of them distinct, into class folders and return their names."""
    rng = np.random.default_rng(0)
    size = (side, side * 3 // 4)
    made = []
    for _ in range(min(n, 200)):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        made.append(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
    names = []
    for i in track(range(n), description="images"):
        name = f"{CLASSES[i % len(CLASSES)]}/IMG_{i:05d}.jpg"
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if i < len(made):
            made[i].save(file, quality=90)
        else:
            os.link(root / names[i % len(made)], file)
        names.append(name)
    return names


def audited(folder: Path, n: int, side: int) -> Path:
    """Write synthetic images and an audit that flags half of them, and return its folder."""
    ids = photographs(folder / "photos", n, side)
    K, rng = len(CLASSES), np.random.default_rng(1)
    given = np.arange(n) % K
    probs = rng.dirichlet(np.full(K, 0.3), n).astype(np.float32)
    score = probs[np.arange(n), given].astype(np.float64)
    flagged = np.zeros(n, dtype=bool)
    flagged[np.argsort(score)[: n // 2]] = True
    suggested = np.where(flagged, (given + 1 + rng.integers(0, K - 1, n)) % K, given)
    alike = [np.flatnonzero(given == k) for k in range(K)]
    neighbors = {
        i: (rng.choice(alike[given[i]], 6).tolist(), rng.choice(alike[suggested[i]], 6).tolist())
        for i in np.flatnonzero(flagged).tolist()
    }
    summary: dict[str, Any] = {"data": str(folder / "photos"), "data_root": None, "image_size": None}
    summary |= {
        "bad_images": "fail",
        "part": "all",
        "noise": "none",
        "seed": 0,
        "labels": None,
        "digest": "0" * 64,
        "method": {"probs": "given"},
        "flagged": int(flagged.sum()),
        "agreement": 0.5,
        "rate": {
            "estimate": 0.5,
            "low": None,
            "high": None,
            "level": None,
            "method": "calibrated",
            "count": n // 2,
        },
        "transition": {"matrix": np.eye(K).tolist(), "low": None, "high": None},
        "classes": [{"name": name, "count": n // K, "flagged": 0, "wrong": 0.5} for name in CLASSES],
        "pairs": [],
        "duplicates": {"groups": 0, "copies": 0, "conflicts": []},
        "known": None,
    }
    why = ["synthetic"] * n
    audit = Audit(
        "photos", CLASSES, ids, given, suggested, score, flagged, probs, why, summary, neighbors, ids,
        probability_wrong=1 - score, probability_suggested=1 - score,
    )  # fmt: skip
    return audit.save(folder / "audit")


def review(audit: Path, decisions: int) -> tuple[list[float], list[float], dict[str, float]]:
    """Return the milliseconds of each decision by the page's and the outside clock, and of the start."""
    from playwright.sync_api import sync_playwright

    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise SystemExit(
            "found no chromium, chromium-browser or google-chrome on the PATH; install one of them"
        )
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "noisylabels", "review", str(audit), "--no-browser"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = next(found[0] for line in process.stdout if (found := re.search(r"http://\S+", line)))
        start = {"command to address": 1000 * (time.perf_counter() - began)}
        with sync_playwright() as playwright:
            launched = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
            page = launched.new_page(viewport={"width": 1280, "height": 800})
            began = time.perf_counter()
            page.goto(address)
            page.wait_for_selector("html[data-shown]")
            start["address to first picture"] = 1000 * (time.perf_counter() - began)
            page.wait_for_timeout(1000)  # as if looking at the first image
            page.evaluate(WATCH)
            outside = []
            for turn in track(range(decisions), description="decisions"):
                shown = page.locator("html").get_attribute("data-shown")
                began = time.perf_counter()
                page.keyboard.press(KEYS[turn % len(KEYS)])
                page.wait_for_selector(f'html:not([data-shown="{shown}"])', state="attached")
                outside.append(1000 * (time.perf_counter() - began))
                page.wait_for_timeout(100)  # ten decisions per second, faster than any person
            page.wait_for_timeout(200)
            inside: list[float] = page.evaluate("window.times")
            launched.close()
    finally:
        process.terminate()
        process.wait()
    return inside, outside, start


def table(result: dict[str, Any]) -> str:
    """Return the Markdown of what was measured."""
    lines = [
        f"Milliseconds per decision on the review page: {result['decisions']} decisions by keyboard on "
        f"{result['images']:,} JPEG images of {result['side']} x {result['side'] * 3 // 4}, Chromium, "
        f"headless. {result['processor']}, {result['cores']} cores; load {result['load'][0]:.1f} before, "
        f"{result['load'][1]:.1f} after.",
        "",
        "| clock | median (quartiles) | 95th percentile | worst | under 100 ms |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, row in result["rows"].items():
        lines.append(
            f"| {name} | {row['median']:.0f} ({row['low']:.0f}-{row['high']:.0f}) | {row['p95']:.0f} "
            f"| {row['worst']:.0f} | {row['under']} of {row['n']} |"
        )
    starts = ", ".join(f"{name} {value:.0f} ms" for name, value in result["start"].items())
    return "\n".join(lines) + f"\n\nStart: {starts}.\n"


def main(options: Options) -> None:
    before = load()
    with tempfile.TemporaryDirectory() as folder:
        audit = audited(Path(folder), options.images, options.side)
        inside, outside, start = review(audit, options.decisions)
        session = Session(audit)
        saved = len(session.decisions())
        session.store.close()
    if saved != options.decisions or len(inside) != options.decisions:
        raise SystemExit(f"{options.decisions} decisions were made, {saved} were saved")
    rows = {}
    for name, times in (("the page's: key to painted frame", inside), ("outside, with the driving", outside)):
        low, median, high = statistics.quantiles(times, n=4)
        rows[name] = {
            "median": median,
            "low": low,
            "high": high,
            "p95": float(np.quantile(times, 0.95)),
            "worst": max(times),
            "under": sum(value < 100 for value in times),
            "n": len(times),
            "times": [round(value, 1) for value in times],
        }
    result = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "load": [before, load()],
        "images": options.images,
        "side": options.side,
        "decisions": options.decisions,
        "start": start,
        "rows": rows,
    }
    options.keep("review", result, table(result))


if __name__ == "__main__":
    main(tyro.cli(Options))
