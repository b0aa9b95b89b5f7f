"""The report in a real browser: every plot there, nothing wider than a phone, text large enough, dark mode, keyboard.

The browser is driven through its debugging pipe (two file descriptors, messages in JSON that end in a zero byte), so no
driver has to be installed. Without a chromium the tests are skipped and say so.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import run
from test_run import data, generated

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine")]
SMALLEST = 11  # pixels of the smallest text in a plot, as shown


class Browser:
    """A headless chromium with one page. `events` keeps what it complains of: exceptions, errors in the log."""

    def __init__(self, folder: Path) -> None:
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()

        def connect() -> None:
            spare = [os.dup(theirs_in), os.dup(theirs_out)]
            os.dup2(spare[0], 3)
            os.dup2(spare[1], 4)

        words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                 "--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"]  # fmt: skip
        self.process = subprocess.Popen(
            [str(CHROMIUM), *words],
            preexec_fn=connect,
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.reader, self.writer = os.fdopen(ours_in, "rb", buffering=0), os.fdopen(ours_out, "wb", buffering=0)
        self.buffer, self.number, self.session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = next(t for t in self.send("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command, and its answer; events that come in between are kept."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.writer.write(json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            more = self.reader.read(1 << 20)
            assert more, "the browser is gone"
            self.buffer += more
        line, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(line)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(self, page: Path, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Show a page in a window of this size and wait until it is laid out."""
        self.events.clear()
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Page.navigate", url=page.resolve().as_uri())
        for _ in range(200):
            if self.evaluate("document.readyState === 'complete' && location.protocol === 'file:'"):
                return
            time.sleep(0.05)
        raise AssertionError(f"{page} did not load")

    def complaints(self) -> list[dict[str, Any]]:
        """Exceptions, console errors, log entries and requests that failed or left this machine."""
        wrong = [e for e in self.events if e.get("method") in ("Runtime.exceptionThrown", "Network.loadingFailed")]
        logs = [e for e in self.events if e.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled")]
        asked = [e for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        away = [e for e in asked if not e["params"]["request"]["url"].startswith(("file:", "data:"))]
        return wrong + logs + away

    def picture(self, path: Path, whole: bool = True) -> None:
        """A screenshot of the whole page."""
        answer = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def press(self, key: str, code: int, types: str = "") -> None:
        """Press and release one key. types: the character it types, which makes Enter act."""
        for kind in ("keyDown", "keyUp"):
            typed = {"text": types} if types and kind == "keyDown" else {}
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **typed)

    def close(self) -> None:
        """End the browser."""
        self.send("Browser.close")
        self.process.wait(timeout=20)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


# What is drawn in a plot beside its axes: a curve, a dot, a bar or a cell.
FIGURES = """[...document.querySelectorAll('figure')].map(f => ({
  title: f.querySelector('figcaption').textContent,
  drawn: f.querySelectorAll('svg [class^=s], svg [class^=f]').length,
  texts: f.querySelectorAll('svg text').length,
  wide: f.querySelector('svg').getBoundingClientRect().width,
  bad: /NaN|undefined|None|Infinity/.test(f.outerHTML)}))"""
SMALLEST_TEXT = """Math.min(...[...document.querySelectorAll('svg text')].map(t =>
  parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a))"""
# Text that leaves its plot.
OUTSIDE = """[...document.querySelectorAll('svg')].flatMap(s => { const b = s.getBoundingClientRect();
  return [...s.querySelectorAll('text')].filter(t => { const r = t.getBoundingClientRect();
    return r.left < b.left - 2 || r.right > b.right + 2 || r.top < b.top - 2 || r.bottom > b.bottom + 2 })
    .map(t => s.getAttribute('aria-label') + ': ' + t.textContent) })"""
# Tick labels of one axis, or two names in a matrix, that lie on each other.
COLLIDING = """[...document.querySelectorAll('svg')].flatMap(s => {
  const boxes = [...s.querySelectorAll('text:not(.at)')].map(t => [t.textContent, t.getBoundingClientRect()]);
  return boxes.flatMap(([a, p], i) => boxes.slice(i + 1).filter(([b, q]) =>
    Math.min(p.right, q.right) - Math.max(p.left, q.left) > 2 && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 4)
    .map(([b]) => s.getAttribute('aria-label') + ': ' + a + ' / ' + b)) })"""
SIDEWAYS = "document.documentElement.scrollWidth - innerWidth"
# Contrast of the ink with what it is written on, as WCAG 2 counts it: 4.5 and more is readable.
CONTRAST = """(() => { const style = getComputedStyle(document.documentElement);
  const light = name => { const box = document.createElement('i'); box.style.color = style.getPropertyValue(name);
    document.body.append(box); const [r, g, b] = getComputedStyle(box).color.match(/[0-9.]+/g).map(x => x / 255)
      .map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4); box.remove();
    return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  return Object.fromEntries(['--ink', '--soft', '--good', '--warn', '--bad', '--c0'].map(n => [n, ratio(light(n), light('--card'))])) })()"""

EXPECTED = {
    "breast_cancer": {
        "Confusion on test",
        "Reliability on test",
        "Recall by class on test",
        "Confidence on validation",
    },
    "diabetes": {"Predicted against true, validation", "Errors on validation"},
    "flight_ranking": {"NDCG of each query, validation"},
}
ALWAYS = {"Loss", "Learning rate", "Gradient norm", "Learning-rate range test", "Gradient norm by layer",
          "Update size by layer", "Distribution of the loss", "Loss of single validation examples",
          "Examples followed over epochs"}  # fmt: skip


@pytest.fixture(scope="module", params=list(EXPECTED))
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Name and folder of a small project that went through the whole recipe."""
    project = generated(tmp_path_factory.mktemp("report"), request.param)
    if request.param == "flight_ranking":
        data.flight_ranking(project / "data" / "train.csv", days=20, most=3000)
    done = run(project, "all", "epochs=8", "tracker=none")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return request.param, project


def test_every_plot_is_there_and_drawn(browser: Browser, report: tuple[str, Path]) -> None:
    name, project = report
    browser.open(project / "report.html")
    figures = browser.evaluate(FIGURES)
    assert {f["title"] for f in figures} >= ALWAYS | EXPECTED[name]
    assert [f for f in figures if not f["drawn"] or f["texts"] < 4 or f["wide"] < 250 or f["bad"]] == []
    assert browser.evaluate(OUTSIDE) == [] and browser.evaluate(COLLIDING) == []
    assert browser.complaints() == [] and browser.evaluate("document.scripts.length") == 0
    assert browser.evaluate(SIDEWAYS) == 0
    assert (project / "report.html").stat().st_size < 5_000_000


@pytest.mark.parametrize("width", [320, 400, 768])
def test_a_phone_shows_it_without_scrolling_sideways(browser: Browser, report: tuple[str, Path], width: int) -> None:
    browser.open(report[1] / "report.html", width=width)
    assert browser.evaluate(SIDEWAYS) == 0
    assert browser.evaluate(SMALLEST_TEXT) >= (SMALLEST if width >= 400 else 9)
    assert browser.evaluate(OUTSIDE) == [] and browser.evaluate(COLLIDING) == []


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_by_day_and_night(browser: Browser, report: tuple[str, Path], dark: bool) -> None:
    browser.open(report[1] / "report.html", dark=dark)
    red, green, blue = browser.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")
    assert (red + green + blue < 150) == dark
    assert {name: ratio for name, ratio in browser.evaluate(CONTRAST).items() if ratio < 4.5} == {}


def test_the_keyboard_reaches_everything(browser: Browser, report: tuple[str, Path]) -> None:
    browser.open(report[1] / "report.html")
    browser.press("Tab", 9)
    assert browser.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(80):
        browser.press("Tab", 9)
        reached.add(browser.evaluate("document.activeElement.outerHTML.slice(0, 80)"))
    wanted = browser.evaluate("document.querySelectorAll('a, summary, .scroll').length")
    assert len(reached) >= min(wanted - 1, 40), (len(reached), wanted)
    browser.evaluate("document.querySelector('summary').focus()")
    browser.press("Enter", 13, "\r")
    assert browser.evaluate("document.querySelector('details').open")


def test_links_lead_to_the_page_of_each_run_and_back(browser: Browser, report: tuple[str, Path]) -> None:
    _, project = report
    browser.open(project / "report.html")
    link = browser.evaluate("[...document.querySelectorAll('td a')].map(a => a.href)")[0]
    page = Path(link.removeprefix("file://"))
    browser.open(page)
    assert [f for f in browser.evaluate(FIGURES) if not f["drawn"]] == [] and browser.complaints() == []
    assert browser.evaluate("document.querySelector('header a').href") == (project / "report.html").resolve().as_uri()
