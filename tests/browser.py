"""A headless Chromium for tests of pages, driven through a pipe (--remote-debugging-pipe): no port, no network, no package.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

CHROMIUM = shutil.which("chromium")
_PATIENCE = 60  # seconds for one answer


class Browser:
    """One page of `width` by `height` pixels; close it, or use it as a context manager."""

    def __init__(self, place: Path, width: int = 1280, height: int = 800) -> None:
        commands, self._to = os.pipe()
        self._from, answers = os.pipe()

        def hand_over() -> None:
            ours, theirs = os.dup(commands), os.dup(answers)  # 3 and 4 may be taken by each other
            os.dup2(ours, 3)
            os.dup2(theirs, 4)

        self._process = subprocess.Popen(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
             f"--user-data-dir={place}", "--remote-debugging-pipe", "about:blank"],
            preexec_fn=hand_over, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(commands)
        os.close(answers)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.said: list[str] = []  # what the page wrote to its console, and its errors
        self.asked: list[str] = []  # the addresses it asked for
        page = next(target for target in self("Target.getTargets")["targetInfos"] if target["type"] == "page")
        self._session = self("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *problem) -> None:
        self.close()

    def close(self) -> None:
        for end in (self._to, self._from):
            os.close(end)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    # -- the protocol -------------------------------------------------------------------------

    def __call__(self, method: str, **parameters):
        """One command; its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _read(self) -> dict:
        until = time.monotonic() + _PATIENCE
        while b"\0" not in self._buffer:
            if not select.select([self._from], [], [], max(0, until - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            data = os.read(self._from, 1 << 20)
            if not data:
                raise EOFError(f"the browser ended: {self._process.poll()}")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        event = json.loads(line)
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.said.append(event["params"]["exceptionDetails"].get("exception", {}).get("description", "exception"))
            case "Runtime.consoleAPICalled":
                self.said.append(str(event["params"]["args"]))
            case "Network.requestWillBeSent":
                self.asked.append(event["params"]["request"]["url"])
        return event

    # -- what a person does -------------------------------------------------------------------

    def open(self, file: Path) -> None:
        """Load a file, and wait until it is there."""
        self.asked.clear()
        self("Page.navigate", url=file.resolve().as_uri())
        while self._read().get("method") != "Page.loadEventFired":
            pass

    def resize(self, width: int, height: int) -> None:
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def scheme(self, name: str) -> None:
        """``light`` or ``dark``."""
        self("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def evaluate(self, expression: str):
        """The value of an expression of JavaScript; a promise is waited for."""
        done = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise RuntimeError(done["exceptionDetails"]["exception"].get("description"))
        return done["result"].get("value")

    def settle(self) -> None:
        """Wait until what was done is drawn."""
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def text(self, selector: str) -> str:
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).textContent")

    def key(self, key: str, modifiers: int = 0) -> None:
        """Press and release; `modifiers`: 1 Alt, 2 Ctrl, 8 Shift."""
        more = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        self("Input.dispatchKeyEvent", type="keyDown", key=key, modifiers=modifiers, **more)
        self("Input.dispatchKeyEvent", type="keyUp", key=key, modifiers=modifiers)
        self.settle()

    def type(self, text: str) -> None:
        self("Input.insertText", text=text)

    def mouse(self, kind: str, x: float, y: float, **more) -> None:
        """``Pressed``, ``Released``, ``Moved`` or ``Wheel``."""
        self("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **more)

    def click(self, x: float, y: float, modifiers: int = 0) -> None:
        self.mouse("Moved", x, y, modifiers=modifiers)
        self.mouse("Pressed", x, y, button="left", clickCount=1, modifiers=modifiers)
        self.mouse("Released", x, y, button="left", clickCount=1, modifiers=modifiers)
        self.settle()

    def click_on(self, selector: str, modifiers: int = 0) -> None:
        """The middle of an element."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        x, y = self.evaluate(f"(box => [box.x + box.width / 2, box.y + box.height / 2])({box})")
        self.click(x, y, modifiers)

    def screenshot(self, file: Path) -> None:
        self.settle()
        file.write_bytes(base64.b64decode(self("Page.captureScreenshot", format="png")["data"]))
