"""The report's page in a real headless Chromium: what it shows, how it is used, what it must not do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hjbbench.report import write_report
from tests.synthetic import write_run

selenium = pytest.importorskip("selenium", reason="selenium is not installed: pip install -e '.[dev]'")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not BROWSER, reason="no chromium: on Debian, apt-get install chromium"),
    pytest.mark.skipif(not DRIVER, reason="no chromedriver: on Debian, apt-get install chromium-driver"),
    pytest.mark.xdist_group("browser"),
]

HOSTILE = "<img src=x onerror=\"document.title='broken'\">"
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
DESKTOP = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
CLAIMS = """
[[claim]]
name = "true-one"
text = "fast is faster"
kind = "faster"
agent = "fast"
baseline = "slow"
tasks = ["*/*"]
ratio = 1.2

[[claim]]
name = "false-one"
text = "slow is faster"
kind = "faster"
agent = "slow"
baseline = "fast"
tasks = ["*/*"]
ratio = 1.2
"""

CONTRAST = """
// Contrast of every visible text with the ground it stands on (WCAG 2.2, relative luminance); the worst first.
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
function rgba(colour) {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
}
const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
function ground(element) {
  const layers = [];
  for (let e = element; e; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor));
  return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
}
const linear = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
const luminance = (c) => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
const found = [];
for (const element of document.body.querySelectorAll("*")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || element.closest("script, style") || !element.getClientRects().length) continue;
  const style = getComputedStyle(element), below = ground(element);
  const colour = rgba(element.closest("svg") ? style.fill : style.color);
  const [a, b] = [luminance(over(colour, below)), luminance(below)].sort((x, y) => y - x);
  const needed = element.classList.contains("mark") ? 3 : 4.5; // an agent's mark is a graphic
  const what = `${element.tagName} ${element.getAttribute("class")}: ${element.textContent.slice(0, 40)}`;
  found.push([(a + 0.05) / (b + 0.05) / needed, what]);
}
return found.sort((x, y) => x[0] - y[0]).slice(0, 5).concat([[found.length, "texts"]]);
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    for task in ("control/a", "highway/b"):
        for agent, level, speed in (("fast", 0.9, 20.0), ("slow", 0.92, 4.0), ("poor", 0.2, 4.0)):
            for seed in range(5):
                write_run(root, task, agent, seed, level=level, speed=speed, n_evals=12, metrics=("collisions",))
    write_run(root, "control/a", "hostile", 0, agent=HOSTILE, status="error", error=HOSTILE, n_evals=12, n_evals_made=3)
    (root / "claims.toml").write_text(CLAIMS)
    return write_report(root, root / "claims.toml")[1]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = BROWSER or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    """The page in a desktop window, in light colours."""
    show(browser, page, DESKTOP, "light")
    return browser


def show(browser: Any, page: Path, screen: dict[str, Any], theme: str) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    media = [{"name": "prefers-color-scheme", "value": theme}, {"name": "prefers-reduced-motion", "value": "reduce"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    browser.get(page.as_uri())


def agents(table: Any) -> list[str]:
    return [row.get_attribute("data-value") for row in table.find_elements("css selector", "tbody th[scope=row]")]


def test_nothing_is_reported_to_the_console_and_nothing_is_loaded(browser: Any, page: Path) -> None:
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # what was before
    show(browser, page, DESKTOP, "light")
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert requests == [page.as_uri()]
    assert browser.get_log("browser") == []


def test_names_from_results_are_text_and_nothing_else(opened: Any) -> None:
    assert opened.title == "hjbbench: synthetic"
    assert opened.find_elements("css selector", "img, iframe, object, link, script[src]") == []
    reason = opened.find_element("css selector", "section[aria-labelledby=failed] td.wrap")
    assert reason.text == HOSTILE


def test_a_click_sorts_the_better_end_first_and_another_one_back(opened: Any) -> None:
    table = opened.find_element("css selector", "table.sortable")
    score = table.find_element("css selector", "thead th:nth-child(3)")
    button = score.find_element("css selector", "button")
    button.click()
    assert score.get_attribute("aria-sort") == "descending"
    values = [float(cell.text) for cell in table.find_elements("css selector", "tbody:first-of-type td:nth-child(3)")]
    assert values == sorted(values, reverse=True)
    before = agents(table)
    button.click()
    assert score.get_attribute("aria-sort") == "ascending"
    ranked = agents(table)[:3]
    assert ranked == before[:3][::-1]
    assert agents(table)[3:] == before[3:]  # agents without a rank stay below


@pytest.mark.parametrize("key", ["ENTER", "SPACE"])
def test_the_keyboard_sorts_too(opened: Any, key: str) -> None:
    from selenium.webdriver.common.keys import Keys

    table = opened.find_element("css selector", "table.sortable")
    heading = table.find_element("css selector", "thead th:nth-child(2)")
    region = opened.find_element("css selector", "[aria-label='Leaderboard over all tasks']")
    opened.execute_script("arguments[0].focus()", region)
    for _ in range(2):  # from the region past the first heading to the second
        opened.switch_to.active_element.send_keys(Keys.TAB)
    assert opened.switch_to.active_element.text.startswith("Agent")
    opened.switch_to.active_element.send_keys(getattr(Keys, key))
    assert heading.get_attribute("aria-sort") == "ascending"
    assert agents(table)[:3] == ["fast", "poor", "slow"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(browser: Any, page: Path, theme: str) -> None:
    show(browser, page, DESKTOP, theme)
    browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    *worst, count = browser.execute_script(CONTRAST)
    assert count[0] > 500
    assert worst[0][0] >= 1, worst
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 27)"}[theme]


def test_a_phone_scrolls_tables_and_not_the_page(browser: Any, page: Path) -> None:
    show(browser, page, PHONE, "light")
    browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    assert browser.execute_script("return window.innerWidth") == 390
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    wider = "return [...document.querySelectorAll('.scroll')].filter((e) => e.scrollWidth > e.clientWidth).length"
    assert browser.execute_script(wider) > 0


def test_verdicts_differ_in_word_sign_and_colour_and_not_in_size(opened: Any) -> None:
    badges = opened.find_elements("css selector", ".claims .badge")
    assert [badge.text for badge in badges] == ["✓ holds", "✗ refuted"]
    assert len({badge.value_of_css_property("color") for badge in badges}) == 2
    assert len({(b.value_of_css_property("font-size"), b.value_of_css_property("font-weight")) for b in badges}) == 1


def test_the_page_reads_without_its_script(browser: Any, page: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(browser, page, DESKTOP, "light")
        assert browser.find_elements("css selector", "thead button") == []
        summary = browser.find_element("css selector", "article details summary")
        summary.click()
        figure = browser.find_element("css selector", "article details[open] figure svg")
        assert figure.size["width"] > 200
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
