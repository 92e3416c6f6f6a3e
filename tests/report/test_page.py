"""The page of a report in a real browser, headless and offline."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page as Tab

from noisylabels.losses import PAPER
from noisylabels.noise import MAPS
from noisylabels.paper.report import paper_sections
from noisylabels.study.reporting import write_report
from noisylabels.study.results import split

HOSTILE = "</script><script>window.hacked = 1</script><!--"
MESSAGE = """<img src=x onerror="window.hacked = 2"> <!-- <script> it's a "trap" & more"""
LOSSES = ["ce", "mae", "nce", "nfl", "nce+mae", HOSTILE]
NOISES = ["none", "symmetric:0.2", "symmetric:0.4"]
ACCURACY = '[id="accuracy-symmetric"]'
RATES = '[id="rates-symmetric"] .chart'


@dataclass
class Opened:
    """A page in the browser, and what it did unasked."""

    tab: Tab
    requests: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def open_page(browser):
    """Return a function that opens a file, offline, and waits until every chart is drawn."""
    contexts = []

    def opened(path: Path, width: int = 1280, height: int = 900) -> Opened:
        context = browser.new_context(viewport={"width": width, "height": height}, offline=True)
        contexts.append(context)
        found = Opened(context.new_page())
        found.tab.on("request", lambda request: found.requests.append(request.url))
        found.tab.on("console", lambda message: found.said.append(f"{message.type}: {message.text}"))
        found.tab.on("pageerror", lambda error: found.said.append(f"error: {error}"))
        found.tab.on("dialog", lambda dialog: (found.said.append("a dialog"), dialog.dismiss()))
        found.tab.goto(path.as_uri())
        found.tab.wait_for_function("document.documentElement.dataset.drawn === 'all'", timeout=120_000)
        return found

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def runs(made_run):
    """A study with a loss of a hostile name, cells without a run, and a failure with a hostile message."""
    found = [
        made_run(loss, noise, seed, epochs=12, validation=0.1)
        for loss in LOSSES
        for noise in NOISES
        for seed in (1, 2)
        if not (loss == "mae" and noise == "symmetric:0.4")
    ]
    failed = made_run("nce", "symmetric:0.4", 3, epochs=12, validation=0.1, status="failed")
    object.__setattr__(failed, "message", MESSAGE)
    return [*found, failed]


@pytest.fixture(scope="module")
def path(runs, tmp_path_factory):
    (results,) = split(runs)
    out = tmp_path_factory.mktemp("page") / "a folder of ours"
    return write_report([results], out, formats=(), sections=paper_sections)


@pytest.fixture(scope="module")
def shared(path, open_page):
    return open_page(path)


@pytest.fixture
def tab(shared):
    """Return the page with all losses shown; check afterwards that it requested and logged nothing."""
    shared.tab.locator("#filter button").first.click()
    settle(shared.tab)
    yield shared.tab
    settle(shared.tab)
    assert shared.said == []
    assert len(shared.requests) == 1
    assert shared.tab.evaluate("window.hacked") is None


def settle(tab: Tab) -> None:
    """Wait until every chart shows what the filter says."""
    tab.evaluate("Promise.all([...views.values()].map((view) => view.runAsync())).then(() => true)")


def texts(tab: Tab, selector: str) -> list[str]:
    """Return what is written in charts."""
    found: list[str] = tab.locator(f"{selector} svg text").all_text_contents()
    return found


def cells(runs, loss, noise, column="test_accuracy", epoch=-1):
    """Return mean and sample deviation in per cent, computed here."""
    values = [
        100 * run.curves[column][epoch]
        for run in runs
        if (run.loss, run.noise) == (loss, noise) and run.status == "done"
    ]
    return np.mean(values), np.std(values, ddof=1)


# Loading ------------------------------------------------------------------------------------------


def test_it_loads_offline_and_draws_everything(tab, shared, path):
    assert shared.requests == [path.as_uri()]
    drawn = tab.evaluate(
        "[...document.querySelectorAll('.chart')].map((chart) => chart.querySelectorAll('svg').length)"
    )
    assert set(drawn) == {1}
    assert len(drawn) > 30
    assert tab.title() == "digits, small-cnn, 12 epochs"
    boxes = tab.evaluate(
        "[...document.querySelectorAll('.chart svg')].map((svg) => [svg.clientWidth, svg.clientHeight])"
    )
    assert all(width > 100 and height > 50 for width, height in boxes)
    written = texts(tab, ".chart")
    assert not [text for text in written if "undefined" in text or "NaN" in text]


def test_a_hostile_name_is_text_everywhere(tab):
    assert tab.locator("#filter label").all_inner_texts() == LOSSES
    assert HOSTILE in tab.locator(f"{ACCURACY} tbody th").all_inner_texts()
    assert tab.locator('[id="failed"] tbody td').last.inner_text() == MESSAGE
    assert tab.locator("img, iframe").count() == 0
    assert tab.locator("script").count() == 3
    assert tab.evaluate("window.hacked") is None


# Hover --------------------------------------------------------------------------------------------


def hover(tab: Tab, selector: str, x: float | str, y: float | str | None = None, scale: str = "x") -> str:
    """Put the pointer on a place of a chart, in units of its axes, and return what it is shown."""
    tab.locator(selector).first.scroll_into_view_if_needed()
    left, top = tab.evaluate(
        """([selector, x, y]) => {
            const chart = document.querySelector(selector), view = views.get(chart);
            const box = chart.querySelector("svg").getBoundingClientRect(), [left, top] = view.origin();
            const at = (name, value) => view.scale(name)(value) + (view.scale(name).bandwidth?.() ?? 0) / 2;
            return [box.x + left + at("x", x), box.y + top + (y === null ? view.height() / 2 : at("y", y))];
        }""",
        [selector, x, y],
    )
    tab.mouse.move(left - 9, top)
    tab.mouse.move(left, top, steps=3)
    tab.locator("#vg-tooltip-element.visible").wait_for(timeout=5000)
    return tab.locator("#vg-tooltip-element").inner_text()


def readings(shown: str, at: float) -> dict[str, tuple[float, float]]:
    """Return name -> mean and deviation of a tooltip with a row a loss, and check that it is about `at`."""
    parts = re.split(r"\s*\t\s*|\n+", shown.strip())
    pairs = dict(zip(parts[::2], parts[1::2], strict=True))
    assert float(pairs.pop("at")) == at
    assert all(re.fullmatch(r"\d+\.\d% ± \d+\.\d%", value) for value in pairs.values()), pairs
    return {name: tuple(float(n) for n in re.findall(r"[\d.]+", value)) for name, value in pairs.items()}


def test_hover_reads_the_values_of_every_loss_at_a_rate(tab, runs):
    found = readings(hover(tab, RATES, 0.2), 0.2)
    assert found.keys() == set(LOSSES)
    for loss, values in found.items():
        assert values == pytest.approx(cells(runs, loss, "symmetric:0.2"), abs=0.11), loss
    at_end = readings(hover(tab, RATES, 0.4), 0.4)
    assert at_end.keys() == set(LOSSES) - {"mae"}  # which has no run there


def test_hover_reads_the_values_of_an_epoch(tab, runs):
    found = readings(hover(tab, '[id="curves-symmetric-0.2"] .chart', 7), 7)
    assert "ce" in found  # the first panel has the standard losses
    for loss, values in found.items():
        assert values == pytest.approx(cells(runs, loss, "symmetric:0.2", epoch=6), abs=0.11)


def test_hover_reads_a_tile_a_point_and_a_pair(tab, runs):
    mean, deviation = cells(runs, "nce", "symmetric:0.4")
    told = hover(tab, '[id="heatmap-symmetric"] .chart', "0.4", "nce")
    assert f"nce, symmetric:0.4: {mean:.1f} ± {deviation:.1f} % (n = 2)" in told
    told = hover(tab, '[id="spread-symmetric"] .panel:nth-of-type(3) .chart', mean / 100, "nce")
    assert f"nce: {mean:.2f} ± {deviation:.2f} % (n = 2)" in told
    told = hover(tab, '[id="chosen-symmetric"] .panel:nth-of-type(3) .chart', mean / 100, "nce")
    assert f"nce: last {mean:.1f} ± {deviation:.1f} %, chosen " in told


def test_hover_after_a_filter_reads_what_is_shown(tab):
    tab.get_by_label("ce", exact=True).uncheck()
    settle(tab)
    assert readings(hover(tab, RATES, 0.2), 0.2).keys() == set(LOSSES) - {"ce"}


# The filter ---------------------------------------------------------------------------------------


def drawn(tab: Tab, figure: str) -> int:
    """Return how many lines there are in a figure."""
    return tab.locator(f'[id="{figure}"] .mark-line path:not([d=""])').count()


def visible_rows(tab: Tab, table: str) -> list[str]:
    return tab.locator(f'[id="{table}"] tbody tr:visible > :first-child').all_inner_texts()


def test_unchecking_takes_a_loss_out_of_charts_and_tables(tab):
    assert (drawn(tab, "rates-symmetric"), drawn(tab, "curves-symmetric-0.2")) == (6, 2 * 6)
    named = "figure:not(#ranks) .chart"
    assert texts(tab, named).count("nce") > 10
    for loss in ("nce", HOSTILE):
        tab.get_by_label(loss, exact=True).uncheck()
    settle(tab)
    assert (drawn(tab, "rates-symmetric"), drawn(tab, "curves-symmetric-0.2")) == (4, 2 * 4)
    assert texts(tab, named).count("ce") > 10
    assert texts(tab, named).count("nce") == 0
    left = ["ce", "mae", "nfl", "nce+mae"]
    assert visible_rows(tab, "accuracy-symmetric") == left
    assert visible_rows(tab, "measures-symmetric") == [loss for loss in left if loss != "mae"]
    assert visible_rows(tab, "failed") == []
    assert len(visible_rows(tab, "claims")) > 40  # are about no loss
    assert tab.locator("#ranks .chart svg").count() == 1
    tab.get_by_label("nce", exact=True).check()
    settle(tab)
    assert drawn(tab, "rates-symmetric") == 5
    assert visible_rows(tab, "failed") == ["nce"]
    assert texts(tab, '[id="gap-symmetric"]').count("nce") == 1


def test_groups_and_all(tab):
    buttons = tab.locator("#filter button")
    assert buttons.all_inner_texts() == [
        "all",
        "Standard losses",
        "Robust losses",
        "Normalized losses",
        "Combined losses (Active Passive Loss)",
    ]
    wanted = {
        "Normalized losses": ["nce", "nfl"],
        "Robust losses": ["mae"],
        "Standard losses": ["ce", HOSTILE],  # of which nothing is known
        "Combined losses (Active Passive Loss)": ["nce+mae"],
        "all": LOSSES,
    }
    for words, losses in wanted.items():
        tab.get_by_role("button", name=words, exact=True).click()
        settle(tab)
        boxes = tab.locator("#filter input")
        checked = [box.get_attribute("value") for box in boxes.all() if box.is_checked()]
        assert checked == losses
        assert visible_rows(tab, "accuracy-symmetric") == losses
        assert drawn(tab, "rates-symmetric") == len(losses)


def test_nothing_checked_shows_nothing_and_breaks_nothing(tab):
    for box in tab.locator("#filter input").all():
        box.uncheck()
    settle(tab)
    assert drawn(tab, "rates-symmetric") == 0
    assert visible_rows(tab, "accuracy-symmetric") == []


def test_the_filter_shows_the_colors_of_the_charts(tab):
    swatches = tab.locator("#filter label line").evaluate_all(
        "lines => lines.map(line => line.getAttribute('stroke'))"
    )
    assert len(set(swatches)) == 6
    strokes = tab.locator('[id="rates-symmetric"] .mark-line path').evaluate_all(
        "paths => paths.map(path => path.getAttribute('stroke'))"
    )
    assert sorted(strokes) == sorted(swatches)


# Tables -------------------------------------------------------------------------------------------


def column(tab: Tab, table: str, place: int) -> list[str]:
    return tab.locator(f"{table} tbody tr > :nth-child({place + 1})").all_inner_texts()


def means(tab: Tab, place: int) -> list[float | None]:
    """Return the numbers of a column of accuracies in their order, None for an empty cell."""
    return [float(text.split(" ")[0]) if text else None for text in column(tab, ACCURACY, place)]


def test_numbers_sort_largest_first_and_empty_cells_stay_last(tab, runs):
    head = tab.locator(f"{ACCURACY} thead button")
    assert head.all_inner_texts() == ["loss", "clean", "0.2", "0.4"]
    wanted = sorted(
        (round(cells(runs, loss, "symmetric:0.4")[0], 2) for loss in LOSSES if loss != "mae"), reverse=True
    )
    head.nth(3).click()
    assert means(tab, 3) == [*map(pytest.approx, wanted), None]
    assert tab.locator(f"{ACCURACY} thead th").nth(3).get_attribute("aria-sort") == "descending"
    head.nth(3).click()
    assert means(tab, 3) == [*map(pytest.approx, wanted[::-1]), None]
    assert tab.locator(f"{ACCURACY} thead th").nth(3).get_attribute("aria-sort") == "ascending"
    assert column(tab, ACCURACY, 0)[-1] == "mae"  # rows stay whole
    head.nth(1).click()
    clean = means(tab, 1)
    assert clean == sorted(clean, reverse=True)
    assert tab.locator(f"{ACCURACY} thead th[aria-sort]").count() == 1


def test_text_sorts_as_text(tab):
    head = tab.locator(f"{ACCURACY} thead button").first
    head.click()
    assert column(tab, ACCURACY, 0) == [HOSTILE, "ce", "mae", "nce", "nce+mae", "nfl"]
    head.click()
    assert column(tab, ACCURACY, 0) == ["nfl", "nce+mae", "nce", "mae", "ce", HOSTILE]


def test_signed_numbers_sort_by_value(tab):
    table = '[id="against-ce-symmetric"]'
    tab.locator(f"{table} thead button").nth(1).click()
    found = [float(text.split(" ")[0].replace("−", "-")) for text in column(tab, table, 1)]
    assert found == sorted(found, reverse=True)
    assert min(found) < 0 < max(found)


def test_the_keyboard_does_it_too(tab):
    tab.locator(f"{ACCURACY} thead button").first.focus()
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "clean"
    tab.keyboard.press("Enter")
    down = means(tab, 1)
    assert down == sorted(down, reverse=True)
    tab.keyboard.press("Space")
    assert means(tab, 1) == down[::-1]
    outline = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"  # one sees where one is
    tab.locator("#filter input").first.focus()
    tab.keyboard.press("Space")
    settle(tab)
    assert "ce" not in visible_rows(tab, "accuracy-symmetric")
    tab.keyboard.press("Space")
    settle(tab)
    assert "ce" in visible_rows(tab, "accuracy-symmetric")


def test_a_legend_is_shown_where_the_filter_is_none(tab):
    """Synergy figures have lines of roles; those of losses have the filter as their legend."""
    roles = tab.locator('[id="synergy-symmetric"] .legend')
    assert roles.is_visible()
    assert roles.inner_text().split("\n") == ["active term", "passive term", "their sum"]
    assert roles.locator("line").count() == roles.locator("path").count() == 3
    assert not tab.locator('[id="rates-symmetric"] .legend').is_visible()  # in print only


def test_charts_have_names_for_those_who_do_not_see_them(tab):
    charts = tab.locator(".chart")
    for chart in charts.all():
        title = chart.locator("xpath=ancestor::figure//figcaption").inner_text().split("\n")[0]
        assert chart.get_attribute("aria-label").startswith(title)
    names = [chart.get_attribute("aria-label") for chart in charts.all()]
    assert "Combined losses and their components, symmetric noise: nce+mae" in names
    assert {chart.get_attribute("role") for chart in charts.all()} == {"graphics-document"}


# Small, on paper, large ---------------------------------------------------------------------------


def test_a_telephone(path, open_page):
    small = open_page(path, 400, 800)
    tab = small.tab
    assert tab.evaluate("document.documentElement.scrollWidth") <= 400
    wider = tab.evaluate(
        """[...document.querySelectorAll("body *")].filter((each) => !each.closest(".scroll, svg, .losses"))
            .filter((each) => each.getBoundingClientRect().right > 401)
            .map((each) => each.outerHTML.slice(0, 99))"""
    )
    assert wider == []
    charts = tab.evaluate(
        "[...document.querySelectorAll('.chart svg')].map((svg) => svg.getBoundingClientRect().width)"
    )
    assert 200 < min(charts) <= max(charts) <= 400
    inner, outer = tab.evaluate(
        """(() => { const box = document.querySelector('[id="measures-symmetric"] .scroll');
            box.scrollLeft = 99; return [box.scrollWidth, box.clientWidth, box.scrollLeft]; })()"""
    )[:2]
    assert inner > outer  # a wide table scrolls by itself
    assert tab.evaluate("""document.querySelector('[id="measures-symmetric"] .scroll').scrollLeft""") == 99
    assert tab.locator("#filter").bounding_box()["height"] < 200
    tab.get_by_label("nce", exact=True).uncheck()
    settle(tab)
    assert drawn(tab, "rates-symmetric") == 5
    assert "nfl" in readings(hover(tab, RATES, 0.2), 0.2)
    assert (small.said, small.requests) == ([], [path.as_uri()])


def test_it_prints(path, open_page):
    opened = open_page(path)
    tab = opened.tab
    assert not tab.locator(".legend").first.is_visible()
    tab.emulate_media(media="print")
    tab.set_viewport_size({"width": 690, "height": 1000})  # A4 within its margins
    assert not tab.locator("#filter").is_visible()
    assert not tab.locator("nav").is_visible()
    charts = tab.evaluate(
        """[...document.querySelectorAll(".chart svg")].map((svg) => {
            const box = svg.getBoundingClientRect(); return [box.width, box.height, box.right]; })"""
    )
    assert len(charts) > 30
    assert all(width > 100 and height > 40 and right <= 691 for width, height, right in charts)
    legend = tab.locator('[id="rates-symmetric"] .legend')
    assert legend.is_visible()  # in place of the filter
    assert [text.strip() for text in legend.locator("span").all_inner_texts()] == LOSSES
    pdf = tab.pdf(format="A4", print_background=True)
    assert pdf.startswith(b"%PDF-")
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert 8 < pages < 60
    assert len(pdf) > 100_000
    assert opened.said == []


@pytest.mark.slow
def test_a_study_of_full_size(made_run, open_page, tmp_path):
    """The paper's: 12 losses, 9 noises, 3 seeds, 120 epochs."""
    noises = [
        "none",
        *(f"symmetric:0.{k}" for k in (2, 4, 6, 8)),
        *(f"asymmetric:0.{k}" for k in (1, 2, 3, 4)),
    ]
    classes = tuple(MAPS["cifar10"].class_names)
    settings = {"epochs": 120, "class_names": classes, "model": "cnn8", "data": "cifar10", "validation": 0.1}
    (results,) = split(
        [made_run(loss, noise, seed, **settings) for loss in PAPER for noise in noises for seed in (1, 2, 3)]
    )
    assert len(results.done) == 324
    page = write_report([results], tmp_path, formats=(), sections=paper_sections)
    assert 1e6 < page.stat().st_size < 6e6
    opened = open_page(page)
    charts = opened.tab.evaluate("document.querySelectorAll('.chart').length")
    assert opened.tab.evaluate("document.querySelectorAll('.chart svg').length") == charts > 100
    shown = hover(opened.tab, '[id="curves-asymmetric-0.3"] .chart', 60)
    (epoch,) = re.findall(r"at\s+(\d+)", shown)
    assert 58 <= int(epoch) <= 62  # a pixel is half an epoch here
    found = readings(shown, int(epoch))
    assert found.keys() == {"ce", "fl"}
    for loss, values in found.items():
        wanted = cells(results.runs, loss, "asymmetric:0.3", epoch=int(epoch) - 1)
        assert values == pytest.approx(wanted, abs=0.11)
    assert (opened.said, opened.requests) == ([], [page.as_uri()])
