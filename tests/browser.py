"""Chromium without a window, told what to do over a pipe (the DevTools protocol); nothing else is needed."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe")

BEGIN = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Starts the browser with the pipe's ends where it looks for them: 3 to read, 4 to write."""

PATIENCE = 30.0
"""Seconds until what is waited for must be there."""


class Page:
    """A page that is open in a browser."""

    def __init__(self, told: Any, answers: Any) -> None:
        """Open a page of a browser that reads ``told`` and writes ``answers``."""
        self._told, self._answers, self._numbers = told, answers, itertools.count(1)
        self._session: str | None = None
        self.errors: list[str] = []
        self.asked: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol; return its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._told.write(json.dumps(message).encode() + b"\0")
        self._told.flush()
        while (found := self._next()).get("id") != number:
            self._note(found)
        assert "error" not in found, f"{method}: {found['error']}"
        return found["result"]

    def size(self, width: int, height: int, *, touch: bool = False) -> None:
        """Give the window a size, px."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)

    def open(self, address: str) -> None:
        """Go to an address."""
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """Return the value of an expression in JavaScript, also that of a promise."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, f"{script}: {done['exceptionDetails']}"
        return done["result"].get("value")

    def wait(self, script: str, seconds: float = PATIENCE) -> Any:
        """Wait until an expression is true; return its value."""
        until = time.monotonic() + seconds
        while not (found := self.run(script)):
            assert time.monotonic() < until, f"{script} isn't true: {self.errors}"
            time.sleep(0.05)
        return found

    def click(self, x: float, y: float) -> None:
        """Click at a place of the window."""
        self.drag((x, y), (x, y))

    def drag(self, first: tuple[float, float], last: tuple[float, float]) -> None:
        """Press the mouse at a place, and let it go at another."""
        steps = [("mouseMoved", first, 0), ("mousePressed", first, 1)]
        if first != last:
            middle = ((first[0] + last[0]) / 2, (first[1] + last[1]) / 2)
            steps += [("mouseMoved", middle, 1), ("mouseMoved", last, 1)]
        for kind, (x, y), buttons in [*steps, ("mouseReleased", last, 0)]:
            about = {
                "x": x,
                "y": y,
                "button": "left" if buttons or kind == "mouseReleased" else "none",
                "buttons": buttons,
            }
            self.call("Input.dispatchMouseEvent", type=kind, clickCount=1, **about)

    def key(self, name: str, code: int) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file of an input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def picture(self, path: Path) -> None:
        """Write what the window shows as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def _next(self) -> dict[str, Any]:
        parts = bytearray()
        while (one := self._answers.read(1)) != b"\0":
            assert one, "the browser has ended"
            parts += one
        found: dict[str, Any] = json.loads(parts)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(str(params["exceptionDetails"].get("exception", {}).get("description")))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            case "Network.requestWillBeSent":
                self.asked.append(params["request"]["url"])


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """Give a page in a new browser, which keeps its files and what it downloads in ``folder``."""
    assert BROWSER is not None  # a test is skipped without
    read_by_it, told = os.pipe()
    answers, written_by_it = os.pipe()
    options = [*OPTIONS, f"--user-data-dir={folder / 'user'}"]
    command = [sys.executable, "-c", BEGIN, str(read_by_it), str(written_by_it), BROWSER, *options]
    environment = {**os.environ, "HOME": str(folder)}
    process = subprocess.Popen(
        command,
        pass_fds=(read_by_it, written_by_it),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_by_it)
    os.close(written_by_it)
    with os.fdopen(told, "wb") as to, os.fdopen(answers, "rb") as back:
        page = Page(to, back)
        try:
            page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
            yield page
        finally:
            page._session = None
            with suppress(Exception):
                page.call("Browser.close")
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
