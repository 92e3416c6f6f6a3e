"""What README promises to somebody with a folder of doubtful images, by its own commands, word for word."""

from __future__ import annotations

import csv
import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from noisylabels.cli import main

ROOT = Path(__file__).parents[1]
WRONG = 0.3


def commands() -> list[list[str]]:
    """Return the words of README's commands for a folder of doubtful images."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```sh\n(noisylabels audit photos/ .*?)```", text, re.DOTALL)
    return [shlex.split(line, comments=True) for line in block.splitlines()]


def run(words: list[str]) -> None:
    """Run a command; in this process, which has imported torch."""
    assert words[0] == "noisylabels"
    assert main(words[1:]) == 0


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, str]:
    """Write digits as photos/train/<class>/*.png, three in ten in the wrong folder; return the truth.

    The test part is clean, and so are the new photos.
    """
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8) * 255 / 16).round().astype(np.uint8)
    rng = np.random.default_rng(5)
    order = rng.permutation(len(labels))
    truth = {}
    for place, i in enumerate(order.tolist()):
        true = int(labels[i])
        part = "train" if place < 700 else "test" if place < 1100 else "new"
        given = true
        if part == "train" and rng.random() < WRONG:
            given = int((true + rng.integers(1, 10)) % 10)
        folder = tmp_path / ("new-photos" if part == "new" else f"photos/{part}/digit {given}")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i]).save(folder / f"{i}.png")
        name = f"{i}.png" if part == "new" else f"{part}/digit {given}/{i}.png"
        truth[name] = f"digit {true}"
    return truth


@pytest.mark.slow
def test_from_a_folder_to_corrected_labels_and_a_better_model(
    tmp_path: Path,
    photos: dict[str, str],
    browser: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    audit, review, export, train, predict = commands()
    run(audit)
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "photos-audit" / "audit.json").read_text(encoding="utf-8"))
    given = {name: name.split("/")[1] for name in photos if "/" in name}
    wrong = {name for name, label in given.items() if photos[name] != label}
    assert f"{100 * found['rate']['estimate']:.0f}" in said
    # of all labels, those of the clean test part too
    assert abs(found["rate"]["estimate"] - len(wrong) / len(given)) < 0.06

    decided = review_by_keyboard([*review, "--no-browser"], tmp_path, photos, browser, most=250)
    assert decided >= min(250, len(wrong) * 0.7)

    run(export)
    with (tmp_path / "corrected.csv").open(encoding="utf-8", newline="") as file:
        corrected = {row["id"]: row["label"] for row in csv.DictReader(file)}
    assert corrected.keys() == given.keys()
    left = {name for name, label in corrected.items() if photos[name] != label}
    assert len(left) < 0.35 * len(wrong)

    run(train)
    without = [word for word in train if word not in ("--labels", "corrected.csv")]
    # as somebody trains who trusts the labels
    run([*without[:-1], "runs/uncorrected", "--loss", "ce"])
    accuracy = {
        name: json.loads((tmp_path / "runs" / name / "result.json").read_text())["final"]["test_accuracy"]
        for name in ("photos", "uncorrected")
    }
    assert accuracy["photos"] > accuracy["uncorrected"] + 0.03, accuracy

    run(predict)
    with (tmp_path / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    right = [row["label"] == photos[Path(row["image"]).name] for row in rows]
    assert len(right) == 1797 - 1100
    assert np.mean(right) > 0.85


def review_by_keyboard(words: list[str], folder: Path, truth: dict[str, str], browser: Any, most: int) -> int:
    """Review as somebody who sees what is in a picture: keep, take the suggestion, or choose."""
    server = subprocess.Popen(
        [sys.executable, "-m", *words], cwd=folder, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    context = browser.new_context()
    try:
        assert server.stdout is not None
        address = next(word for line in server.stdout for word in line.split() if word.startswith("http"))
        tab = context.new_page()
        tab.goto(address)
        tab.wait_for_selector("html[data-shown]")
        done = 0
        while done < most:
            name = tab.locator("#id").inner_text()
            right = truth.get(name)
            if right is None:  # nothing is left to decide
                break
            given, suggested = (
                tab.locator(f"#card-{which} bdi").inner_text() for which in ("given", "suggested")
            )
            shown = tab.locator("html").get_attribute("data-shown")
            if right == given:
                tab.keyboard.press("k")
            elif right == suggested:
                tab.keyboard.press("s")
            else:
                tab.keyboard.press("c")
                tab.keyboard.type(right)
                tab.keyboard.press("Enter")
            tab.wait_for_selector("#saved:not(.busy)", state="attached")
            done += 1
            if tab.locator("html").get_attribute("data-shown") == shown:
                break
        return done
    finally:
        context.close()
        server.send_signal(signal.SIGINT)
        server.wait(20)
        assert server.stdout is not None
        server.stdout.close()
