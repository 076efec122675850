"""A real browser, headless, and the page in it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.programs import shell

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
PATIENCE = 60.0
"""Seconds to wait for what should take one."""
SHOTS = Path(__file__).parents[2] / ".screenshots"
WIDE, NARROW = 1280, 380

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="no chromium and chromedriver here: apt-get install chromium chromium-driver, or `make test` as root",
)


class Browser:
    """One Chromium. Every wait is for a condition."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver
        self.base = ""

    def open(self, path: str) -> None:
        """Go to a view."""
        self.driver.get(path if path.startswith("http") else self.base + path)

    def enter(self, url: str) -> None:
        """Open the printed URL, key and all."""
        parts = urlsplit(url)
        self.base = f"{parts.scheme}://{parts.netloc}"
        self.open(url)

    def wait(self, met: Callable[[], Any], why: str) -> Any:
        """Until ``met`` is true; elements that are exchanged meanwhile are asked for again."""
        waiting = WebDriverWait(self.driver, PATIENCE, 0.1, [StaleElementReferenceException])
        return waiting.until(lambda driver: met(), why)

    def find(self, css: str) -> WebElement:
        """The element, once it is there."""
        found: WebElement = self.wait(lambda: next(iter(self.driver.find_elements(By.CSS_SELECTOR, css)), None), css)
        return found

    def text(self, css: str = "main") -> str:
        """What one reads in it."""
        found: str = self.wait(lambda: (self.find(css).text,), css)[0]
        return found

    def wait_for(self, text: str, css: str = "main") -> None:
        """Until the element says ``text``."""
        self.wait(lambda: text in self.find(css).text, f"{css} says {text!r}")

    def click(self, css: str) -> None:
        """Press it: in one step, for what is live may move between aiming and pressing."""

        def press() -> bool:
            self.driver.execute_script("arguments[0].click()", self.find(css))
            return True

        self.wait(press, f"{css} can be pressed")

    def run(self, script: str) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script)

    def look(self, width: int, scheme: str) -> None:
        """As a screen so wide shows it, light or dark."""
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )

    def shoot(self, name: str) -> None:
        """Save the whole view in all four looks, for people to look at."""
        SHOTS.mkdir(exist_ok=True)
        for width in (WIDE, NARROW):
            for scheme in ("light", "dark"):
                self.look(width, scheme)
                height = min(int(self.run("return document.documentElement.scrollHeight")), 4_000)
                self.command(
                    "Emulation.setDeviceMetricsOverride",
                    width=width,
                    height=height,
                    deviceScaleFactor=1,
                    mobile=width < 500,
                )
                assert self.driver.save_screenshot(str(SHOTS / f"{name}-{width}-{scheme}.png"))
        self.look(WIDE, "light")

    def complaints(self) -> list[str]:
        """What the browser's console says: blocked scripts and styles, errors, missing files."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def command(self, name: str, **values: Any) -> Any:
        """One of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, values)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with an empty profile."""
    options = ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "hide-scrollbars"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, Service(DRIVER))
    driver.set_page_load_timeout(PATIENCE)
    try:
        yield Browser(driver)
    finally:
        driver.quit()


@contextmanager
def inspecting(state: Path, *argv: str) -> Iterator[tuple[str, str, str]]:
    """``usagewire inspect`` as its user runs it: URLs of the page, the receiver over HTTP, and over gRPC."""
    command = [sys.executable, "-u", "-m", "usagewire", "inspect", *argv]
    with subprocess.Popen(command, env=shell(state), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            said = "".join(process.stdout.readline() for _ in range(3))
            page, http, grpc = re.findall(r"https?://\S+", said)
            yield page, http, grpc
        finally:
            process.terminate()
            process.wait(30)
