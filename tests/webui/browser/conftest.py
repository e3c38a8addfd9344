"""One server and one browser for the browser tests; each test has a visitor of its own, at a desk or with a phone."""
from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SECONDS = int(os.environ.get("JITTOR_IPL_PATIENCE", 300))   # that anything may take: kernels may be compiled
# Wide, light and English; narrow, dark and Chinese: every page is seen in both.
VISITORS = {"desk": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light", "locale": "en-GB"},
            "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "locale": "zh-CN",
                      "has_touch": True, "is_mobile": True}}


def pytest_collection_modifyitems(items):
    """Skip the browser tests, with the reason, where what they need is not installed."""
    try:
        import axe_playwright_python  # noqa: F401
        import gradio  # noqa: F401
        import playwright  # noqa: F401
        reason = None if chromium() else "no chromium: apt-get install chromium"
    except ImportError as error:
        reason = f"no {error.name}: pip install -r requirements-ui.txt -r requirements-dev.txt"
    for item in items if reason else ():
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.skip(reason=reason))


def chromium() -> str | None:
    """Return Debian's Chromium."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Address of a server on the demo world, with a small set of results."""
    folder = tmp_path_factory.mktemp("server")
    made = [sys.executable, "run_all.py", "--weights", "B_weight/demo", "--seeds", "0-2", "--style", "disney",
            "--output", str(folder / "results")]
    subprocess.run(made, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    command = [sys.executable, str(Path(__file__).with_name("small_server.py")), "--port", "0", "--runs",
               str(folder / "runs"), "--results", str(folder / "results"), "--trained", "B_weight"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True)
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if found := re.match(r"(http://\S+)", line):
            break
    else:
        pytest.fail("the server did not start: " + "".join(said[-20:]))
    threading.Thread(target=lambda: said.extend(process.stdout), daemon=True).start()
    yield found[1]
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(60) in (0, 130), "".join(said[-20:])
    except subprocess.TimeoutExpired:
        process.kill()
        raise


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, without a window, with a camera that shows a test pattern.

    Of one module: Playwright's event loop runs in this thread as long as it lasts, and tests elsewhere start their own.
    """
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=[
            "--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"])
        yield running
        running.close()


@dataclass
class Visitor:
    """Somebody in front of the page."""

    context: object
    page: object
    address: str
    kind: str

    @property
    def language(self) -> str:
        """The page's language for this visitor."""
        return "zh" if self.kind == "phone" else "en"

    def open(self, page: str = ""):
        """Open one of the pages and wait until its fields are as the address says."""
        self.page.goto(f"{self.address}/{self.language}/{page}")
        self.page.locator("#content h1").wait_for()
        self.page.locator("body[data-filled]").wait_for()
        return self.page

    def words(self, key: str, **fields) -> str:
        """Return a text of the page."""
        from jittor_ipl.webui.pages.words import Words
        return Words(self.language)(key, **fields)

    def look(self, name: str) -> None:
        """Keep a picture of what is to be seen where JITTOR_IPL_SCREENSHOTS names a folder."""
        if folder := os.environ.get("JITTOR_IPL_SCREENSHOTS"):
            self.page.wait_for_timeout(400)
            self.page.screenshot(path=Path(folder) / f"web-{name}-{self.kind}.png", full_page=self.kind == "phone")

    def faults(self) -> list[str]:
        """Return what axe-core finds serious or critical on the page, and finds again when nothing changes any more."""
        from axe_playwright_python.sync_playwright import Axe
        for pause in (0, 1000, 3000):       # a panel is faint while its next pictures are made, and fades
            self.page.wait_for_timeout(pause)
            self.page.wait_for_function("!document.querySelector('.panel.stale')")
            self.page.wait_for_function("document.getAnimations().every(one => one.playState !== 'running' || "
                                        "one.effect.getComputedTiming().iterations === Infinity)")
            violations = Axe().run(self.page).response["violations"]
            found = [f"{one['id']}: {node['target']} {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
                     for one in violations if one["impact"] in ("serious", "critical") for node in one["nodes"]]
            if not found:
                break
        return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Tell what was to be read on the page when a test failed."""
    report = yield
    visitor = getattr(item, "funcargs", {}).get("visitor")
    if report.when == "call" and report.failed and isinstance(visitor, Visitor):
        report.sections.append((f"the page {visitor.page.url}", visitor.page.locator("body").inner_text(timeout=5000)))
    return report


@pytest.fixture(params=VISITORS)
def visitor(request, browser, server):
    """Return a visitor whom nobody knows yet, in each kind; faults of scripts on the page fail the test."""
    context = browser.new_context(**VISITORS[request.param], permissions=["camera"])
    context.set_default_timeout(SECONDS * 1000)
    page, faults = context.new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield Visitor(context, page, server, request.param)
    context.close()
    assert not faults
