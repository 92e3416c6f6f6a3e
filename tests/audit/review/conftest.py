"""Fixtures of the review tests: synthetic audits, a server process, a real browser."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import noisylabels
from noisylabels.audit.result import Audit
from warm_process import WarmPopen

CLASSES = ("bird", "cat", "dog")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path_factory.mktemp("cache")))


def picture(seed: int, kind: str = "PNG", side: int = 24) -> bytes:
    """Return a small image file that depends on the seed."""
    buffer = io.BytesIO()
    color = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(color).resize((side, side)).save(buffer, kind)
    return buffer.getvalue()


def made_up(
    ids: Sequence[str],
    given: Sequence[int],
    classes: Sequence[str],
    data: Path | str | None,
    *,
    paths: bool = True,
    suggested: Sequence[int] | None = None,
    flagged: int | None = None,
    digest: str = "0" * 64,
    probabilities: bool = False,
    **summary: Any,
) -> Audit:
    """Return a synthetic audit in which the first `flagged` (half) of the examples are flagged."""
    n, K = len(ids), len(classes)
    labels = np.array(given)
    wanted = (labels + 1) % K if suggested is None else np.array(suggested)
    probs = np.full((n, K), 0.1 / K, dtype=np.float32)
    probs[np.arange(n), wanted] += 0.6
    probs[np.arange(n), labels] += 0.3
    flags = np.arange(n) < (n // 2 if flagged is None else flagged)
    wanted = np.where(flags, wanted, labels)
    by_class = [np.flatnonzero(labels == k)[:6].tolist() for k in range(K)]
    head = {
        "data": None if data is None else str(data),
        "data_root": None,
        "image_size": None,
        "bad_images": "fail",
        "part": "all",
        "noise": "none",
        "seed": 0,
        "labels": None,
        "digest": digest,
        "method": {"probs": "given"},
        "flagged": int(flags.sum()),
        "agreement": 0.5,
        "rate": {
            "estimate": 0.1,
            **dict.fromkeys(("low", "high", "level")),
            "method": "calibrated",
            "count": 1,
        },
        "transition": {"matrix": np.eye(K).tolist(), "low": None, "high": None},
        "classes": [{"name": name, "count": 1, "flagged": 0, "wrong": 0.1} for name in classes],
        "pairs": [],
        "duplicates": {"groups": 0, "copies": 0, "conflicts": []},
        "known": None,
    }
    shares = {}
    if probabilities:
        wrong = np.linspace(0.999, 0.001, n)
        shares = {"probability_wrong": wrong, "probability_suggested": 0.9 * wrong}
    return Audit(
        "photos",
        tuple(classes),
        list(ids),
        labels,
        wanted,
        np.linspace(0, 1, n),
        flags,
        probs / probs.sum(1, keepdims=True),
        [f"reason {i}" for i in range(n)],
        head | summary,
        {i: (by_class[labels[i]], by_class[wanted[i]]) for i in range(n)},
        list(ids) if paths else [None] * n,
        **shares,
    )


@pytest.fixture(scope="session")
def audit() -> Callable[..., Audit]:
    return made_up


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Callable[..., Path]:
    """Return a function that writes class folders of images and an audit of them, and returns its folder."""

    def make(
        n: int = 12, classes: Sequence[str] = CLASSES, names: Sequence[str] = (), **options: Any
    ) -> Path:
        place = tmp_path_factory.mktemp("review")
        root = place / "photos"
        ids, given = [], []
        for i in range(n):
            k = i % len(classes)
            name = names[i] if i < len(names) else f"{i:05d}.png"
            file = root / classes[k] / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(picture(i))
            ids.append(f"{classes[k]}/{name}")
            given.append(k)
        return made_up(ids, given, classes, root, **options).save(place / "audit")

    return make


@dataclass
class Served:
    """A review server in its own process."""

    process: WarmPopen
    address: str
    said: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        found = re.search(r":(\d+)/", self.address)
        assert found
        return int(found[1])

    @property
    def token(self) -> str:
        return self.address.partition("token=")[2]

    def kill(self) -> None:
        """Kill the process, as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def start(audit: Path, *words: str) -> Served:
        source = str(Path(noisylabels.__file__).parents[1])
        process = WarmPopen(
            ["-m", "noisylabels", "review", str(audit), "--no-browser", *words],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": source},
        )
        assert process.stdout
        said = []
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", line):
                started.append(Served(process, found[0], said))
                return started[-1]
        raise AssertionError(f"the server ended: {said}")

    yield start
    for one in started:
        one.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            one.process.wait(10)
        if one.process.poll() is None:
            one.kill()
        assert one.process.stdout
        one.process.stdout.close()


@dataclass
class Tab:
    """A page in the browser, with its console messages."""

    page: Any
    said: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def shown(self) -> int:
        """Return the current example once its image is shown."""
        self.page.wait_for_selector("html[data-shown]")
        return int(self.page.locator("html").get_attribute("data-shown"))

    def press(self, *keys: str) -> None:
        """Press keys, and wait after each until its decision is saved."""
        for key in keys:
            self.page.keyboard.press(key)
            self.page.wait_for_selector("#saved:not(.busy)", state="attached")

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text())


@pytest.fixture
def visit(browser) -> Iterator[Callable[..., Tab]]:
    """Return a function that opens an address, in a new browser or in a new tab."""
    contexts = []

    def opened(address: str, beside: Tab | None = None, **options: Any) -> Tab:
        context = beside.page.context if beside else browser.new_context(**options)
        if beside is None:
            contexts.append(context)
        tab = Tab(context.new_page())
        tab.page.on("console", lambda message: tab.said.append(f"{message.type}: {message.text}"))
        tab.page.on("pageerror", lambda error: tab.said.append(f"error: {error}"))
        tab.page.on("dialog", lambda dialog: (tab.said.append("a dialog"), dialog.dismiss()))
        tab.page.on("request", lambda request: tab.requests.append(request.url))
        tab.page.goto(address)
        tab.page.wait_for_selector("html[data-shown], #gone:not([hidden])")
        return tab

    yield opened
    for context in contexts:
        context.close()
