"""The page of a review in a real browser."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import pytest

from noisylabels.audit.review.session import Session

HOSTILE = "<img src=x onerror=alert(1)>"
NAMES = (
    'it\'s "quoted" & <b>bold<b>.png',
    "  two  spaces .png",
    "..hidden..png",
    "a..b ..png",
    "100%25 #1?x=y;z.png",
    "日本 ü ‮gnp.png",
)

FOREIGN = """async (base) => {
    const body = JSON.stringify({event: "12345678", index: 0, action: "keep"});
    const headers = {"Content-Type": "application/json", "X-NoisyLabels": "review"};
    const tries = [
        fetch(base + "/api/audit", {credentials: "include"}),
        fetch(base + "/api/audit", {credentials: "include", mode: "no-cors"}),
        fetch(base + "/api/decide", {method: "POST", body, credentials: "include", mode: "no-cors"}),
        fetch(base + "/api/decide", {method: "POST", body, credentials: "include", headers}),
    ];
    const said = await Promise.all(tries.map((one) => one.then((r) => r.status + r.type, () => "failed")));
    const img = new Image();
    const seen = await new Promise((done) => {
        img.onload = () => done("seen");
        img.onerror = () => done("refused");
        img.src = base + "/picture/0";
    });
    return [...said, seen];
}"""
FRAMED = """(base) => new Promise((done) => {
    const frame = document.createElement("iframe");
    frame.onload = () => {
        try { done(frame.contentDocument ? "read" : "closed"); } catch (error) { done("closed"); }
    };
    frame.src = base;
    document.body.append(frame);
})"""
TIMED = """() => {
    const begin = () => { window.began = performance.now(); };
    addEventListener("keydown", begin, {once: true, capture: true});
    new MutationObserver((_, all) => {
        all.disconnect();
        requestAnimationFrame(() => { window.took = performance.now() - window.began; });
    }).observe(document.documentElement, {attributeFilter: ["data-shown"]});
}"""
CONTRAST = """() => {
    const linear = (v) => ((v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    const light = (rgb) => .2126 * linear(rgb[0]) + .7152 * linear(rgb[1]) + .0722 * linear(rgb[2]);
    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    const behind = (e) => {
        for (; e; e = e.parentElement) {
            const color = parse(getComputedStyle(e).backgroundColor);
            if (color.length < 4 || color[3] === 1) return color;
        }
        return [255, 255, 255];
    };
    const written = (e) => [...e.childNodes].some((c) => c.nodeType === 3 && c.data.trim());
    const seen = (e) => e.checkVisibility() && !e.closest(":disabled, option");
    const found = [...document.querySelectorAll("body *")].filter((e) => seen(e) && written(e)).map((e) => {
        const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))];
        return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), e.outerHTML.slice(0, 80)];
    });
    return found.sort((a, b) => a[0] - b[0])[0];
}"""
UNNAMED = """[...document.querySelectorAll("button, select, input, a")]
    .filter((e) => e.checkVisibility())
    .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length))
    .map((e) => e.outerHTML)"""


def decided(folder: Path) -> dict[int, tuple[str, str | None]]:
    """Return the decisions on disk."""
    session = Session(folder)
    found = {place: (one.action, one.label) for place, one in session.decisions().items()}
    session.store.close()
    return found


def in_time(check: Any, seconds: float = 30) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def opened(photos, serve, visit):
    """Return a function that opens the page of a new review; its console must stay empty."""
    tabs = []

    def make(n: int = 12, **options: Any) -> tuple[Any, Path, Any]:
        view = {key: options.pop(key) for key in ("viewport", "color_scheme") if key in options}
        folder = photos(n, **options)
        served = serve(folder)
        tab = visit(served.address, **view)
        tabs.append(tab)
        return tab, folder, served

    yield make
    for tab in tabs:
        assert tab.said == []
        assert {url.split("/")[2].split(":")[0] for url in tab.requests} == {"127.0.0.1"}


def test_every_key_has_its_documented_effect(opened):
    tab, folder, _ = opened(30, flagged=20)
    assert tab.shown() == 0
    assert tab.page.url.endswith("/")  # without the token
    wanted: dict[int, tuple[str, str | None]] = {}
    names = ("bird", "cat", "dog")
    actions = {"k": "keep", "s": "suggested", "Enter": "suggested", "n": "skip", "Space": "skip"}
    actions |= {"x": "discard", "2": "chosen", "K": "keep"}
    for key, action in actions.items():
        place = tab.shown()
        tab.press(key)
        in_time(lambda place=place: tab.shown() == place + 1)
        given = place % 3
        label = {"keep": given, "suggested": (given + 1) % 3, "chosen": given}.get(
            action
        )  # second: the given one
        wanted[place] = (action, None if label is None else names[label])
        assert tab.text("#saved").startswith("saved: ")
        assert decided(folder) == wanted  # on the disk by now
    assert tab.text("#count") == "6 of 20 flagged decided"
    assert tab.text("#precision") == "wrong so far: 50 % (19–81 %)"  # 3 of 6
    # choosing by name
    place = tab.shown()
    tab.page.keyboard.press("c")
    assert tab.page.locator("#wanted").evaluate("e => e === document.activeElement")
    tab.page.keyboard.type("do")
    assert tab.page.locator("#classes li").all_inner_texts()[0].startswith("dog")
    tab.press("Enter")
    wanted[place] = ("chosen", "dog")
    in_time(lambda: decided(folder) == wanted)
    tab.page.keyboard.press("c")
    tab.page.keyboard.press("ArrowDown")
    tab.page.keyboard.press("Escape")
    assert decided(folder) == wanted
    # moving decides nothing
    place = tab.shown()
    for key, step in [("ArrowRight", 1), ("ArrowDown", 3), ("ArrowLeft", -1), ("ArrowUp", -3)]:
        tab.page.keyboard.press(key)
        place += step
        in_time(lambda place=place: tab.shown() == place)
    assert decided(folder) == wanted
    # undo returns to the example that it changes, even after a reload
    tab.press("u")
    assert tab.shown() == max(wanted)
    tab.page.reload()
    for place in sorted(wanted, reverse=True)[1:]:
        tab.shown()
        tab.press("u")
        in_time(lambda place=place: tab.shown() == place)
    assert decided(folder) == {}
    tab.press("u")
    assert tab.text("#saved") == "nothing to undo"
    # small images are smooth, or show their pixels
    look = "e => getComputedStyle(e).imageRendering"
    for image in ("#stage img", ".tile img >> nth=0"):
        assert tab.page.locator(image).evaluate(look) == "auto"
    tab.page.keyboard.press("z")
    for image in ("#stage img", ".tile img >> nth=0"):
        assert tab.page.locator(image).evaluate(look) == "pixelated"
    tab.page.keyboard.press("z")
    assert tab.page.locator("#stage img").evaluate(look) == "auto"
    # help
    tab.page.keyboard.press("?")
    assert tab.page.locator("#help").is_visible()
    tab.page.keyboard.press("k")
    tab.page.keyboard.press("Escape")
    assert decided(folder) == {}


def test_held_keys_and_control_keys_decide_nothing_more(opened):
    tab, folder, _ = opened()
    tab.shown()
    tab.page.keyboard.down("k")
    for _ in range(5):
        tab.page.keyboard.down("k")  # repeats
    tab.page.keyboard.up("k")
    for key in ("Control+s", "Alt+k", "Meta+x"):
        tab.page.keyboard.press(key)
    in_time(lambda: tab.shown() == 1)
    assert len(decided(folder)) == 1


def test_filters_select_the_listed_examples(opened):
    tab, folder, _ = opened(30, flagged=20)
    tab.shown()
    select = tab.page.select_option
    select("#given", label="cat (7)")
    in_time(lambda: tab.text("#range") == "1–7 of 7")
    assert tab.shown() == 1
    select("#given", "")
    select("#pair", label="dog → bird (6)")
    in_time(lambda: tab.shown() == 2)
    assert tab.text("#card-given bdi") == "dog"
    assert tab.text("#card-suggested bdi") == "bird"
    for _ in range(6):
        place = tab.shown()
        tab.press("s")
        in_time(lambda place=place: tab.page.locator("html").get_attribute("data-shown") != str(place))
    assert tab.page.locator("#empty").is_visible()
    tab.press("k")  # nothing is shown: nothing is decided
    assert decided(folder) == dict.fromkeys(range(2, 20, 3), ("suggested", "bird"))
    select("#pair", "")
    select("#state", "decided")
    in_time(lambda: tab.text("#range") == "1–6 of 6")
    assert tab.page.locator(".tile .mark").all_inner_texts() == ["bird"] * 6
    select("#state", "open")
    select("#which", "all")
    in_time(lambda: tab.text("#range") == "1–24 of 24")
    select("#state", "any")
    in_time(lambda: tab.text("#range") == "1–30 of 30")
    # a label that is not flagged can be changed too
    tab.page.locator("[data-index='29']").click()
    in_time(lambda: tab.shown() == 29)
    assert not tab.page.locator("#card-suggested").is_visible()
    tab.press("2")
    in_time(lambda: decided(folder).get(29) is not None)


def test_the_mouse_works_and_leaves_the_keys_usable(opened):
    tab, folder, _ = opened()
    tab.shown()
    tab.page.locator("[data-index='3']").click()
    in_time(lambda: tab.shown() == 3)
    tab.page.get_by_role("button", name="take s").click()
    in_time(lambda: tab.shown() == 4)
    tab.press("Space")  # not the button again
    assert decided(folder) == {3: ("suggested", "cat"), 4: ("skip", None)}


def test_two_tabs_lose_and_double_nothing(opened, visit):
    tab, folder, served = opened(40, flagged=40)
    other = visit(served.address, beside=tab)
    other.page.locator("[data-index='20']").click()
    in_time(lambda: other.shown() == 20)
    for turn in range(6):
        for one, key in ((tab, "k"), (other, "s")):
            place = one.shown()
            one.press(key)
            in_time(lambda one=one, place=place: one.shown() != place)
            # each receives the decisions of the other, and skips those examples
            seen = tab if one is other else other
            in_time(
                lambda seen=seen, place=place: seen.page.locator(f"[data-index='{place}'] .mark").count() == 1
            )
        assert len(decided(folder)) == 2 * (turn + 1)
    place = tab.shown()
    other.page.locator(f"[data-index='{place}']").click()
    tab.press("k")
    in_time(lambda: "kept" in other.text("#badge"))  # it is on the screen there, and says so
    other.press("s")
    in_time(lambda: decided(folder)[place][0] == "suggested")  # the last one holds
    # undo reverts the last decision of this reviewer, in any tab
    tab.press("u")
    in_time(lambda: decided(folder)[place][0] == "keep")
    assert tab.shown() == place
    assert other.said == []


def test_a_killed_server_loses_no_saved_decision(photos, serve, visit):
    folder = photos(30, flagged=30)
    served = serve(folder)
    tab = visit(served.address)
    for _ in range(7):
        place = tab.shown()
        tab.press("s")
        in_time(lambda place=place: tab.shown() != place)
    served.kill()
    place = tab.shown()
    tab.page.keyboard.press("k")
    tab.page.wait_for_selector("#gone:not([hidden])")
    assert "nothing can be saved" in tab.text("#gone")
    assert tab.text("#saved") == "not saved"
    assert tab.shown() == place  # it stays, undecided
    assert tab.page.locator(f"[data-index='{place}'] .mark").count() == 0
    assert decided(folder).keys() == set(range(7))
    again = serve(folder, "--port", str(served.port))
    in_time(lambda: "was restarted" in tab.text("#gone"))  # the new server refuses the old page
    tab.page.keyboard.press("k")
    assert decided(folder).keys() == set(range(7))
    new = visit(again.address)
    assert new.shown() == 7
    assert new.text("#count") == "7 of 30 flagged decided"
    new.press("k")
    in_time(lambda: decided(folder).keys() == set(range(8)))


def test_a_repeated_decision_after_a_lost_answer_counts_once(opened):
    """The server saves the decision and the network fails: the same key again is the same event."""
    tab, folder, _ = opened()
    tab.shown()
    lost = []

    def lose(route: Any) -> None:
        route.fetch()  # it arrives
        lost.append(route.request.post_data_json["event"])
        route.abort()  # its answer does not

    tab.page.route("**/api/decide", lose)
    tab.page.keyboard.press("s")
    in_time(lambda: tab.text("#saved") == "not saved")
    tab.page.unroute("**/api/decide")
    sent = []
    tab.page.on(
        "request", lambda request: sent.append(request.post_data_json) if request.method == "POST" else None
    )
    tab.page.locator("[data-index='0']").click()
    tab.press("s")
    in_time(lambda: bool(sent))
    assert [one["event"] for one in sent] == lost
    in_time(lambda: tab.text("#saved").startswith("saved"))
    session = Session(folder)
    assert session.changes()["seq"] == 1
    session.store.close()
    tab.said.clear()  # the browser's word on the request that failed


def test_hostile_names_are_text(opened):
    tab, folder, _ = opened(12, classes=("bird", "cat", "dog"), names=NAMES, flagged=12)
    for name in NAMES:
        place = tab.shown()
        assert tab.page.locator("#id").text_content() == f"{('bird', 'cat', 'dog')[place % 3]}/{name}"
        assert tab.page.locator("#stage img").evaluate("e => e.naturalWidth") == 24
        tab.press("k")
        in_time(lambda place=place: tab.shown() != place)
    assert decided(folder).keys() == set(range(6))


def test_hostile_class_names_run_nothing(audit, serve, visit, tmp_path):
    classes = (HOSTILE, "</script><script>alert(2)</script>", "\"' onclick=alert(3) x='")
    ids = [f"{i}.png" for i in range(9)]
    given = [i % 3 for i in range(9)]
    folder = audit(ids, given, classes, None, paths=False, flagged=9).save(tmp_path / "audit")
    tab = visit(serve(folder).address)
    tab.shown()
    assert tab.text("#card-given bdi") == HOSTILE
    assert tab.text("#card-suggested bdi") == classes[1]
    assert HOSTILE in "".join(tab.page.locator("#given option").all_inner_texts())
    probable = tab.page.locator("#probable button bdi").all_inner_texts()
    assert probable == [classes[1], classes[0], classes[2]]
    tab.page.keyboard.press("c")
    tab.page.keyboard.type("<img")
    assert tab.page.locator("#classes li").all_inner_texts()[0].startswith(HOSTILE)
    tab.press("Enter")
    in_time(lambda: tab.text("#saved") == "saved: kept " + HOSTILE)
    tab.press("s")
    in_time(lambda: len(decided(folder)) == 2)
    assert "were arrays" in tab.text("#stage")
    assert tab.page.locator("img[src='x'], [onerror], [onclick]").count() == 0
    assert tab.page.locator("script").count() == 5
    assert tab.said == []
    assert not [url for url in tab.requests if "/picture/" in url]  # there is none
    with tab.page.expect_download() as download:
        tab.page.click("#download")
    content = Path(download.value.path()).read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(content)))
    assert rows[0] == {"id": "0.png", "label": HOSTILE}
    assert rows[1] == {"id": "1.png", "label": classes[2]}


def test_a_page_of_another_origin_reads_and_changes_nothing(opened, browser):
    """It runs in the same browser, in which the review is open."""
    tab, folder, served = opened()
    tab.shown()
    page = tab.page.context.new_page()
    page.route("http://evil.example/", lambda route: route.fulfill(body="<p>evil", content_type="text/html"))
    page.goto("http://evil.example/")
    answers = page.evaluate(
        FOREIGN,
        f"http://127.0.0.1:{served.port}",
    )
    assert "200" not in "".join(answers)
    assert answers[0] == answers[3] == "failed"
    assert answers[4] == "refused"
    frame = page.evaluate(
        FRAMED,
        f"http://127.0.0.1:{served.port}/",
    )
    assert frame == "closed"
    assert decided(folder) == {}


def test_images_are_preloaded(opened):
    tab, _, _ = opened(40, flagged=40)
    tab.shown()
    in_time(lambda: sum("size=large" in url for url in tab.requests) >= 8)
    before = len([url for url in tab.requests if "/picture/1?size=large" in url])
    tab.press("k")
    in_time(lambda: tab.shown() == 1)
    assert len([url for url in tab.requests if "/picture/1?size=large" in url]) == before == 1


def test_thirty_decisions_on_ten_thousand_images(audit, photos, serve, visit):
    """Each takes less than 100 ms by the page's clock; benchmarks/bench_review.py makes 200."""
    n = 10_000
    folder = photos(40)
    ids = [f"{('bird', 'cat', 'dog')[i % 3]}/{i % 39 // 3 * 3 + i % 3:05d}.png" for i in range(n)]
    root = folder.parent / "photos"
    made = audit(
        [f"{i}:{name}" for i, name in enumerate(ids)], [i % 3 for i in range(n)], ("bird", "cat", "dog"), root
    )
    object.__setattr__(made, "paths", ids)
    tab = visit(serve(made.save(folder)).address)
    took = []
    for turn in range(30):
        place = tab.shown()
        tab.page.evaluate(TIMED)
        tab.page.keyboard.press("ks1n"[turn % 4])
        in_time(lambda place=place: tab.shown() != place)
        tab.page.wait_for_timeout(40)
        took.append(tab.page.evaluate("window.took"))
    assert sorted(took)[15] < 100, took
    assert len(decided(folder)) == 30


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (800, "dark"), (400, "light")])
def test_the_page_fits_and_is_legible(opened, width, scheme):
    tab, _, _ = opened(60, viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab.shown()
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    contrast = tab.page.evaluate(CONTRAST)
    assert contrast[0] >= 4.5, contrast
    unnamed = tab.page.evaluate(UNNAMED)
    assert unnamed == []
    assert tab.page.locator("#current").evaluate("e => e === document.activeElement")


def test_each_class_has_a_key_of_its_own(opened):
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    tab, folder, _ = opened(40, classes=classes, flagged=40)
    tab.shown()
    shown = tab.page.locator("#fixed button").all_inner_texts()
    keys = dict(reversed(text.split()) for text in shown)
    assert list(keys) == list(classes)  # in the same place whatever the example
    assert len(set(keys.values())) == 10
    assert not set(keys.values()) & set("ksxncuvwz")  # keys of actions
    assert {name: keys[name] for name in ("airplane", "bird", "deer", "frog", "horse", "truck")} == {
        name: name[0] for name in ("airplane", "bird", "deer", "frog", "horse", "truck")
    }
    for name in ("truck", "cat", "airplane"):
        place = tab.shown()
        tab.press(keys[name])
        in_time(lambda place=place: tab.shown() != place)
        assert decided(folder)[place] == ("chosen", name)
    place = tab.shown()
    tab.page.locator("#fixed button", has_text="frog").click()
    in_time(lambda: decided(folder).get(place) == ("chosen", "frog"))


def test_of_many_classes_the_most_frequent_have_keys(audit, serve, visit, tmp_path):
    classes = [f"class {k:02d}" for k in range(30)]
    given = [k for k in range(30) for _ in range(1 + k)]  # the last are the most frequent
    ids = [f"{i}.png" for i in range(len(given))]
    folder = audit(ids, given, classes, None, paths=False).save(tmp_path / "audit")
    tab = visit(serve(folder).address)
    tab.shown()
    assert tab.page.locator("#fixed bdi").all_inner_texts() == classes[-17:]
    assert tab.text("#fixed-caption") == "one key per class, of the 17 most frequent"
    assert tab.said == []


def test_a_whole_pair_is_decided_at_once_and_undone_at_once(opened):
    tab, folder, _ = opened(30, flagged=20, probabilities=True)
    tab.shown()
    tab.press("k")  # a decision of its own, which the others must leave alone
    in_time(lambda: tab.shown() == 1)
    tab.page.select_option("#pair", label="bird → cat (7)")
    in_time(lambda: tab.shown() == 3)
    tab.page.keyboard.press("w")
    assert tab.text("#batch-title") == "Decide all 6 examples of this list without a decision"
    wrong = sum(0.999 - i * 0.998 / 29 for i in range(3, 20, 3))
    assert tab.text("#batch-words") == (
        f"Given label bird, suggested label cat. Expected: about {round(wrong)} of the given labels wrong, "
        f"about {round(0.9 * wrong)} of the suggested labels right."
    )
    tab.page.keyboard.press("Escape")
    assert len(decided(folder)) == 1
    tab.page.keyboard.press("w")
    tab.press("s")
    pair = dict.fromkeys(range(3, 20, 3), ("suggested", "cat"))
    in_time(lambda: decided(folder) == {0: ("keep", "bird"), **pair})
    assert tab.page.locator("#empty").is_visible()
    assert tab.text("#count") == "7 of 20 flagged decided"
    assert tab.text("#precision").startswith("wrong so far: 0 %")  # of the one that was looked at
    tab.press("u")
    in_time(lambda: decided(folder) == {0: ("keep", "bird")})
    assert tab.text("#saved") == "saved: 6 decisions undone"
    assert tab.shown() == 3
    tab.press("u")
    in_time(lambda: decided(folder) == {})


def test_a_selection_is_decided_at_once(opened):
    tab, folder, _ = opened(30, flagged=20)
    tab.shown()
    tile = lambda place: tab.page.locator(f"[data-index='{place}']")  # noqa: E731
    tab.page.keyboard.press("v")  # selects 0 and moves on
    in_time(lambda: tab.shown() == 1)
    tile(4).click(modifiers=["Control"])
    tile(7).click(modifiers=["Control"])
    tile(7).click(modifiers=["Control"])  # not, after all
    assert tab.text("#decide-many") == "decide 2 selected w"
    assert tab.page.locator(".tile[aria-pressed='true']").count() == 2
    tab.page.locator("#clear").click()
    assert tab.page.locator(".tile[aria-pressed='true']").count() == 0
    tile(4).click(modifiers=["Shift"])  # from 1 to 4
    tab.page.locator("#decide-many").click()
    assert tab.text("#batch-title") == "Decide 4 examples that you selected"
    tab.page.select_option("#batch-class", label="dog")
    tab.page.get_by_role("button", name="apply").click()
    in_time(lambda: decided(folder) == dict.fromkeys(range(1, 5), ("chosen", "dog")))
    assert tab.page.locator(".tile[aria-pressed='true']").count() == 0
    in_time(lambda: tab.shown() == 5)


def test_the_goal_is_within_reach_and_says_what_to_expect(opened):
    tab, _, _ = opened(240, flagged=230, probabilities=True)
    tab.shown()
    share = lambda i: 0.999 - i * 0.998 / 239  # noqa: E731
    assert tab.text("#goal") == f"review 100 more: about {round(sum(map(share, range(100))))} wrong expected"
    for _ in range(3):
        place = tab.shown()
        tab.press("s")
        in_time(lambda place=place: tab.shown() != place)
    rest = sum(map(share, range(3, 100)))
    assert tab.text("#goal") == f"review 97 more: about {round(rest)} wrong expected"
    assert tab.page.locator("#bar").get_attribute("aria-valuenow") == "3"
    assert tab.page.locator("#bar").get_attribute("aria-valuemax") == "100"
    tab.page.locator("[data-index='3']").click()
    tab.page.locator("#later").click()
    tab.page.locator("#later").click()
    tab.page.locator("[data-index='98']").click(modifiers=["Shift"])
    tab.page.reload()
    tab.shown()
    assert tab.text("#goal") == f"review 97 more: about {round(rest)} wrong expected"  # also after a reload
    tab.page.select_option("#given", label="dog (76)")
    in_time(lambda: tab.text("#goal").startswith("review 75 more"))  # of those that the filters show


def test_cards_say_whose_probability_is_shown(opened):
    tab, _, _ = opened(30, flagged=20, probabilities=True)
    tab.shown()
    assert tab.text("#card-given .chance").replace("\u00a0", " ") == "wrong: 99.90 %"
    assert tab.text("#card-suggested .chance").replace("\u00a0", " ") == "right: 90 %"
    assert "the probabilities of the models" in tab.page.locator(".caption").first.inner_text()


def test_long_names_keep_their_ends(opened):
    classes = tuple(f"Canis lupus familiaris of the northern highlands {k}" for k in ("alpha", "beta"))
    tab, _, _ = opened(12, classes=classes, flagged=12, viewport={"width": 390, "height": 850})
    tab.shown()
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
    wanted = {".tile .words >> nth=0": "lpha", "#fixed bdi >> nth=1": "beta"}
    wanted |= {"#probable bdi >> nth=0": "beta", "#given option >> nth=1": "alpha (6)"}
    for place, ends in wanted.items():
        text = tab.page.locator(place).text_content()
        assert "…" in text
        assert text.endswith(ends)
    assert tab.page.locator("#fixed bdi").nth(1).get_attribute("title") == classes[1]
