"""The HTML report in a real browser: nothing loaded, nothing to complain of, readable by everyone and on any screen."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from samples import HOSTILE, SAMPLES, blocked, hostile

from backdoor_gate.reports import html

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backdoor_gate.records import AuditReport

selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
pytestmark = pytest.mark.slow

AXE = Path(__file__).parents[1] / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SCREENS = {"wide": (1280, False), "phone": (360, True)}
THEMES = ("light", "dark")


@dataclass(frozen=True, slots=True)
class Browser:
    """A Chromium, and a folder whose pages it opens."""

    driver: Any
    folder: Path

    def open(self, audit: AuditReport, *, theme: str = "light", screen: str = "wide") -> list[dict[str, Any]]:
        """Show a report; return the requests that were made for it."""
        width, mobile = SCREENS[screen]
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": mobile}
        feature = {"name": "prefers-color-scheme", "value": theme}
        self.driver.get("about:blank")
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": [feature]})
        path = self.folder / "report.html"
        path.write_text(html.render(audit), encoding="utf-8")
        for kind in ("performance", "browser"):
            self.driver.get_log(kind)
        self.driver.get(path.as_uri())
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [event["params"]["request"] for event in events if event["method"] == "Network.requestWillBeSent"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not (CHROMIUM and DRIVER):
        pytest.skip("Chromium or its driver is not installed")
    options = selenium.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = selenium.Chrome(options, selenium.ChromeService(DRIVER))
    yield Browser(driver, tmp_path_factory.mktemp("pages"))
    driver.quit()


EVERY = {**SAMPLES, "hostile": lambda: hostile(HOSTILE["markup"])}
every_report = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)


@every_report
def test_the_page_loads_only_itself_without_complaint(browser: Browser, make: Any) -> None:
    requests = browser.open(make())
    loaded = [request["url"] for request in requests if not request["url"].startswith("data:")]
    assert loaded == [(browser.folder / "report.html").as_uri()]
    assert browser.driver.get_log("browser") == []


@every_report
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_nothing(browser: Browser, make: Any, theme: str, screen: str) -> None:
    if not AXE.is_file():
        pytest.skip("axe-core is not there: npm ci --prefix tests")
    browser.open(make(), theme=theme, screen=screen)
    browser.driver.execute_script(AXE.read_text(encoding="utf-8"))
    found = browser.driver.execute_async_script("const done = arguments[0]; axe.run().then(done)")
    assert len(found["passes"]) > 20
    faults = {fault["id"]: [node["html"][:200] for node in fault["nodes"]] for fault in found["violations"]}
    assert faults == {}


@every_report
@pytest.mark.parametrize("screen", SCREENS)
def test_only_tables_scroll_sideways(browser: Browser, make: Any, screen: str) -> None:
    browser.open(make(), screen=screen)
    assert browser.driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def colour(browser: Browser, selector: str, name: str) -> str:
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    return str(browser.driver.execute_script(script, selector, name))


def test_the_style_sheet_and_the_theme_are_applied(browser: Browser) -> None:
    seen = set()
    for theme in THEMES:
        browser.open(blocked(), theme=theme)
        seen.add((colour(browser, "html", "backgroundColor"), colour(browser, ".plot .fill-suspect", "fill")))
    assert len({page for page, _ in seen}) == len({suspect for _, suspect in seen}) == 2
    assert not [pair for pair in seen if "rgb(0, 0, 0)" in pair]


def test_a_print_is_black_on_white(browser: Browser) -> None:
    browser.open(blocked(), theme="dark")
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert colour(browser, "html", "backgroundColor") == "rgb(255, 255, 255)"
    assert colour(browser, "h2", "color") == "rgb(0, 0, 0)"


def test_every_picture_is_shown(browser: Browser) -> None:
    browser.open(blocked())
    widths = browser.driver.execute_script("return [...document.images].map(image => image.naturalWidth)")
    assert widths == [8, 8, 8]


def test_the_policy_would_stop_a_script_and_a_request(browser: Browser) -> None:
    browser.open(blocked())
    browser.driver.execute_script(
        "const script = document.createElement('script'); script.textContent = 'window.ran = 1';"
        "document.body.append(script); new Image().src = 'http://127.0.0.1:9/x.png'"
    )
    assert browser.driver.execute_script("return window.ran") is None
    messages = " ".join(entry["message"] for entry in browser.driver.get_log("browser"))
    assert "script-src" in messages or "inline script" in messages
    assert "img-src" in messages
