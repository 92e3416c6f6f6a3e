"""The audit's page in a real browser, headless and offline."""

from __future__ import annotations

import base64
import io
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import noisylabels as nl
from noisylabels.audit.page import data_uri, in_script, is_weak, lead, next_steps, page, warning
from noisylabels.audit.result import Audit
from noisylabels.audit.running import audit_labels

HOSTILE = """</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 2"><!--"""
NAMES = ("cat", HOSTILE, "a class of a very long name " * 4, "@title@")


def audited(n: int = 200, K: int = 4, names: tuple[str, ...] = NAMES, side: int = 32):
    """Return an audit of random images, and the set, which has one pair of duplicates with other labels."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, K, n)
    given = np.where(rng.random(n) < 0.2, rng.integers(0, K, n), true)
    probs = rng.dirichlet(np.full(K, 0.1), n) * 0.4
    probs[np.arange(n), true] += 0.6
    pixels = torch.from_numpy(rng.integers(0, 256, (n, 3, side, side)).astype(np.uint8))
    pixels[1], given[0], given[1] = pixels[0], 0, 1
    ids = [f'{HOSTILE}/{i} it\'s "one".png' for i in range(n)]
    made = nl.image_set(pixels, torch.from_numpy(given), names, ids, name=HOSTILE)
    return audit_labels(made, probs=probs), made


def content(text: str) -> dict:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found)


def test_untrusted_text_enters_the_page_as_data_only() -> None:
    found, examples = audited()
    text = page(found, examples, Path("an audit"))
    assert text.count("<script") == 2
    assert "<img" not in text
    assert "@data@" not in text.replace(json.dumps(NAMES[3]), "")
    data = content(text)
    assert data["classes"] == list(NAMES)
    assert [item["rank"] for item in data["items"]] == list(range(1, len(data["items"]) + 1))
    assert data["items"][0]["id"] == found.ids[found.order[0]]
    assert [[member["given"] for member in group["members"]] for group in data["groups"]] == [[0, 1]]
    assert "default-src 'none'" in text


def test_the_page_has_the_images_of_the_set() -> None:
    found, examples = audited()
    item = content(page(found, examples, Path("a")))["items"][0]
    kind, _, coded = item["image"].partition(";base64,")
    assert kind == "data:image/png"
    shown = np.array(Image.open(io.BytesIO(base64.b64decode(coded))))
    np.testing.assert_array_equal(shown.transpose(2, 0, 1), examples.images[found.order[0]].numpy())


def test_large_images_become_small_jpegs() -> None:
    kind, _, coded = data_uri(np.zeros((1, 400, 200), np.uint8)).partition(";base64,")
    assert kind == "data:image/jpeg"
    assert Image.open(io.BytesIO(base64.b64decode(coded))).size == (64, 128)


def test_json_cannot_end_its_script() -> None:
    assert json.loads(in_script({"a": HOSTILE})) == {"a": HOSTILE}
    assert "<" not in in_script({"a": HOSTILE})


def test_labels_alone_and_features_have_a_page_without_images() -> None:
    probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
    alone = audit_labels(labels=["cat", "dog", "dog"], probs=probs)
    text = page(alone, None, Path("a"))
    assert all("image" not in item for item in content(text)["items"])
    assert "noisylabels review" not in text


def test_rows_of_a_table_are_shown_by_their_values(tmp_path: Path) -> None:
    lines = [
        f"{20 + 7 * i % 40},{'Oslo' if i % 3 else 'Rome'},{1234567.5 if i else ''},{'ny'[i > 9]}"
        for i in range(20)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["age,city,income,label", *lines]) + "\n", encoding="utf-8")
    audit_labels(str(tmp_path / "t.csv"), out=tmp_path / "a", folds=2, epochs=1)
    items = content((tmp_path / "a" / "page.html").read_text(encoding="utf-8"))["items"]
    said = {item["id"]: (item["cells"], [value[:2] for value in item["values"]]) for item in items}
    assert said["row:0"] == ([["city", "Rome", False]], [[0, "20"], [1, ""]])  # age, and an empty income
    assert said["row:19"] == ([["city", "Oslo", False]], [[0, "33"], [1, "1234567.5"]])


def test_the_next_steps_quote_paths_for_the_shell(tmp_path: Path) -> None:
    found, _ = audited()
    summary = found.summary | {"data": "/data/it's photos", "image_size": 32}
    steps = next_steps(Audit(**vars(found) | {"summary": summary}), Path("my audits/a"))
    assert [command for _, command in steps] == [
        "noisylabels review 'my audits/a'",
        "noisylabels review 'my audits/a' --export corrected.csv",
        "noisylabels train --data '/data/it'\"'\"'s photos' --image-size 32 --labels corrected.csv",
    ]


def test_a_weak_model_causes_a_warning() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 300)
    weak = audit_labels(labels=labels, probs=rng.dirichlet(np.ones(10), 300))
    good = audit_labels(labels=labels, probs=0.9 * np.eye(10)[labels] + 0.01)
    assert re.match(
        r"The models predict only \d+ % of the given labels, where guessing predicts 10 %\..* too weak",
        warning(weak),
    )
    assert warning(good) == ""
    assert lead(weak).startswith("The models are too weak to estimate the noise rate of these 300 labels; ")
    assert re.fullmatch(
        r"The estimated noise rate is \d\.\d % \(95 % interval 0\.0 to \d\.\d %\)\. "
        "Of 300 labels, 0 are flagged as likely mislabeled[.]",
        lead(good),
    )
    assert "too weak" in page(weak, None, Path("a"))


def test_a_network_too_weak_for_the_noise_rate_causes_a_warning_or_a_sentence() -> None:
    found, _ = audited()
    strong = {"agreement": 0.9, "accuracy": {"estimate": 1.0, "low": 0.95, "high": 1.0}}
    network = {"agreement": 0.2, "accuracy": 0.22, "contradicted": False}

    def with_network(**more: object) -> Audit:
        return Audit(**vars(found) | {"summary": found.summary | strong | {"network": network | more}})

    assert not is_weak(Audit(**vars(found) | {"summary": found.summary | strong}))
    weak = with_network()
    assert is_weak(weak)
    assert (
        "only 22 % of the right labels, by estimate, with the network that gives the noise rate"
        in warning(weak)
    )
    assert not is_weak(with_network(accuracy=0.9))
    replaced = with_network(contradicted=True)  # by the rate of the judges
    assert warning(replaced) == ""
    assert "The network predicts only 20 % of the given labels, so the rate is estimated" in lead(replaced)
    assert "The network predicts" not in lead(weak)


@pytest.mark.parametrize("K", [2, 3, 10])
def test_models_that_learned_nothing_are_weak_and_noise_alone_makes_none_weak(K: int) -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, K, 1000)
    nothing = audit_labels(labels=true, probs=rng.dirichlet(np.ones(K), 1000))
    assert is_weak(nothing)
    right = np.where(rng.random(1000) < 0.95, true, (true + 1) % K)
    probs = 0.8 * np.eye(K)[right] + 0.2 / K
    for rate in (0.0, 0.2, 0.35 if K == 2 else 0.5):
        given = np.where(rng.random(1000) < rate, (true + rng.integers(1, K, 1000)) % K, true)
        assert not is_weak(audit_labels(labels=given, probs=probs))


def test_labels_checked_by_hand_say_how_good_the_models_are() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    hand = np.arange(60) < 22
    right = np.where(hand, labels, (labels + 1) % 3)
    probs = 0.9 * np.eye(3)[right] + 0.1 / 3  # all others are wrong, or so the models say
    assert is_weak(audit_labels(labels=labels, probs=probs))
    found = audit_labels(labels=labels, probs=probs, trusted=hand)
    assert not is_weak(found)
    assert "38 labels not checked by hand" in lead(found)


def test_a_wide_interval_is_stated_as_bounds() -> None:
    rng = np.random.default_rng(0)
    found = audit_labels(labels=rng.integers(0, 2, 60), probs=rng.dirichlet(np.ones(2) * 3, 60))
    rate = found.summary["rate"] | {"estimate": 0.2, "low": 0.05, "high": 0.4}
    summary = found.summary | {"rate": rate, "agreement": 0.75}
    summary["accuracy"] = {"estimate": 0.94, "low": 0.8, "high": 1.0}
    assert lead(Audit(**vars(found) | {"summary": summary})).startswith(
        "Between 5.0 and 40.0 % of the 60 labels are wrong (95 % bounds; best estimate 20.0 %). Of them, "
    )


@pytest.mark.parametrize("width", [1280, 400])
def test_it_works_in_a_browser(tmp_path: Path, browser: Any, width: int) -> None:
    from playwright.sync_api import expect

    found, examples = audited(n=900)
    (tmp_path / "page.html").write_text(page(found, examples, Path("a")), encoding="utf-8")
    said: list[str] = []
    requests: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    tab = context.new_page()
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto((tmp_path / "page.html").as_uri())
    tab.wait_for_selector(".card")
    assert tab.evaluate("window.hacked") is None
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    data = content((tmp_path / "page.html").read_text(encoding="utf-8"))
    expect(tab.locator(".card")).to_have_count(min(120, len(data["items"])))
    assert tab.evaluate("document.querySelector('.card img').naturalWidth") == 32
    name = found.ids[found.order[0]]
    assert tab.locator(".card .id").first.inner_text() == name[:24] + "…" + name[-23:]
    assert tab.locator(".card .id").first.get_attribute("title") == name
    tab.locator(".card .id").first.click()
    assert tab.locator(".card .id").first.inner_text() == name
    first = data["items"][0]
    assert "why" not in first  # the models' own probabilities would be a second set
    last = min(119, len(data["items"]) - 1)
    wrong = tab.locator(".card .score b").nth(last).inner_text()
    assert float(wrong.removeprefix("wrong: ").split()[-2]) == pytest.approx(
        100 * data["items"][last]["wrong"], abs=0.5
    )
    right = tab.get_by_text("suggestion right: ").first.inner_text()
    assert float(right.split()[-2]) == pytest.approx(100 * first["right"], abs=0.5)

    tab.select_option("#by-given", "1")
    tab.select_option("#by-suggested", "0")
    wanted = [i for i in data["items"] if i["given"] == 1 and i["suggested"] == 0]
    expect(tab.locator(".card")).to_have_count(len(wanted))
    assert wanted
    tab.click("#filter button")
    expect(tab.locator(".card")).to_have_count(min(120, len(data["items"])))
    tab.click("#pair-table button >> nth=0")
    pair = found.summary["pairs"][0]
    expect(tab.locator(".card")).to_have_count(min(120, pair["count"]))
    tab.click("#filter button")
    tab.fill("#by-id", "/7 it")
    expect(tab.locator(".card")).to_have_count(sum("/7 it" in i["id"] for i in data["items"]))
    tab.fill("#by-id", "")
    tab.select_option("#by-order", "given")
    shown = tab.locator(".card .given").all_text_contents()
    assert shown == sorted(shown, key=list(dict.fromkeys(shown)).index)  # each class in one piece
    assert len(set(shown)) > 1

    assert tab.locator("#matrix text", has_text=re.compile(r"^\d+\.\d$")).count() >= 4
    tab.locator("#matrix rect.hit").first.hover()
    assert tab.locator("#pointed").inner_text().startswith("True class cat: ")
    expect(tab.locator(".group figure")).to_have_count(2)
    context.close()
    assert said == []
    assert [url for url in requests if not url.startswith("data:")] == [(tmp_path / "page.html").as_uri()]


WORDS = files("noisylabels.audit").joinpath("words.js").read_text(encoding="utf-8")


def test_probabilities_near_one_are_written_with_digits_that_differ(browser: Any) -> None:
    tab = browser.new_page()
    written = "(shares) => shares.map((share) => chance(share).replace('\\u00a0', ' '))"
    shares = [0.5, 0.873, 0.96, 0.9871, 0.9962, 0.99964, 0.99991, 0.999999, 1, 0.004, 0.02, 0]
    assert tab.evaluate(f"{WORDS}; ({written})({shares})") == [
        *("50 %", "87 %", "96.0 %", "98.7 %", "99.62 %", "99.96 %", "over 99.99 %", "over 99.99 %"),
        *("over 99.99 %", "0.40 %", "2.0 %", "under 0.01 %"),
    ]
    bars = tab.evaluate(f"{WORDS}; [0, .01, .5, .99, .999, .9999, 1].map(fill)")
    assert bars[:4] == pytest.approx([0, 0, 1 / 3, 2 / 3])
    assert bars[3] < bars[4] < bars[5] <= bars[6] == 1
    tab.close()


def test_long_names_are_elided_in_the_middle(browser: Any) -> None:
    tab = browser.new_page()
    found = tab.evaluate(
        f"{WORDS}; ['abcdefghij', 'abcdefghijk', '日本語😀の長い😀😀'].map((one) => middle(one, 10))"
    )
    assert found == ["abcdefghij", "abcde…hijk", "日本語😀の長い😀😀"]
    cut = tab.evaluate(f"{WORDS}; middle('日本語😀の長い😀😀', 6)")
    assert cut == "日本語…😀😀"  # never half a character
    tab.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_the_pairs_and_sections_are_readable(tmp_path: Path, browser: Any, scheme: Any) -> None:
    names = ("airplane", "automobile", "Canis lupus familiaris", "x" * 60)
    found, examples = audited(n=900, names=names)
    (tmp_path / "page.html").write_text(page(found, examples, Path("a")), encoding="utf-8")
    tab = browser.new_page(viewport={"width": 390, "height": 850}, color_scheme=scheme)
    tab.goto((tmp_path / "page.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    for button in tab.locator("#pair-table button").all():
        box = button.bounding_box()
        assert box["x"] + box["width"] <= 390
        assert box["width"] > box["height"]  # its word reads across
    cell = tab.locator("#pair-table td span", has_text=re.compile("^automobile$")).first
    assert cell.evaluate("e => e.getClientRects().length") == 1  # in one piece
    for section in ("noise", "pairs", "next"):  # a link goes where it says
        tab.evaluate("scrollTo({top: 0, behavior: 'instant'})")
        tab.click(f"nav a[href='#{section}']")
        tab.wait_for_timeout(1500)  # scrolls smoothly
        assert 0 <= tab.locator(f"#{section}").bounding_box()["y"] < 90
    tab.close()


def test_an_older_audit_shows_label_quality(tmp_path: Path, browser: Any) -> None:
    found, examples = audited()
    older = Audit(**vars(found) | {"probability_wrong": None, "probability_suggested": None})
    (tmp_path / "page.html").write_text(page(older, examples, Path("a")), encoding="utf-8")
    tab = browser.new_page()
    tab.goto((tmp_path / "page.html").as_uri())
    first = content((tmp_path / "page.html").read_text(encoding="utf-8"))["items"][0]
    assert tab.locator(".card .score b").first.inner_text() == f"quality: {first['score']}"
    assert first["score"] == pytest.approx(found.score[found.order[0]], rel=1e-2)
    assert first["why"] == found.why[found.order[0]]
    tab.close()
