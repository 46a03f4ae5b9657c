"""A headless Chromium, spoken to over its DevTools pipe: what a page logs, requests and shows.

The protocol goes through the file descriptors 3 and 4, one JSON object after another with a NUL between them; no
library is needed for it.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
LIMIT_S = 40.0
# In a container there is no sandbox for root, and little shared memory; nothing else is switched off.
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run", "--mute-audio",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
)  # fmt: skip


def program() -> str:
    """Where the browser is; the test is skipped where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no chromium on this machine")
    return found


class BrowserError(RuntimeError):
    """The browser refused a command, or did not answer in time."""


class Browser:
    """A running browser with one page. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        to_read, to_write = os.pipe(), os.pipe()
        line = [program(), *OPTIONS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
        # The shell puts the two pipes where the browser looks for them.
        plug = f'exec "$@" 3<&{to_read[0]} 4>&{to_write[1]}'
        self._process = subprocess.Popen(
            ["bash", "-c", plug, "bash", *line],
            pass_fds=(to_read[0], to_write[1]), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "HOME": str(folder)}, start_new_session=True,
        )  # fmt: skip
        os.close(to_read[0])
        os.close(to_write[1])
        self._out, self._in = os.fdopen(to_read[1], "wb", buffering=0), os.fdopen(to_write[0], "rb", buffering=0)
        self._answers: Queue[dict[str, Any]] = Queue()
        self.events: list[dict[str, Any]] = []
        self._number, self._session = 0, None
        threading.Thread(target=self._listen, daemon=True).start()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._session = None
            self.call("Browser.close")
            self._process.wait(timeout=10)
        except (BrowserError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._out.close()

    def _listen(self) -> None:
        rest = b""
        while data := self._in.read(1 << 16):
            *whole, rest = (rest + data).split(b"\0")
            for message in map(json.loads, whole):
                (self._answers.put if "id" in message else self.events.append)(message)
        self._in.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command of the protocol."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        until = time.monotonic() + LIMIT_S
        while True:
            try:
                answer = self._answers.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                raise BrowserError(f"{method}: no answer within {LIMIT_S:g} s") from None
            if answer["id"] == self._number:
                break
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error'].get('message')}")
        return answer.get("result", {})

    def ask(self, script: str) -> Any:
        """The value of an expression in the page, of a promise what it comes to."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise BrowserError(json.dumps(found["exceptionDetails"])[:500])
        return found["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Nothing, once an expression in the page is true."""
        until = time.monotonic() + LIMIT_S
        while not self.ask(condition):
            if time.monotonic() > until:
                raise BrowserError(f"{condition} was not true within {LIMIT_S:g} s")
            time.sleep(0.05)

    def look(self, width: int, height: int = 900, *, dark: bool = False, phone: bool = False) -> None:
        """The page as wide as that, in a colour scheme; a phone's pixels and touch, or a desktop's."""
        scale = 2 if phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, path: Path) -> None:
        """Nothing, once the file is loaded."""
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait_for("document.readyState === 'complete' && location.protocol === 'file:'")

    def press(self, key: str) -> None:
        """A key of the keyboard, pressed and let go."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def faults(self) -> list[str]:
        """What the page logged as an error or a warning, and what it threw."""
        found = []
        for event in self.events:
            told = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(told["exceptionDetails"])[:400])
            elif event["method"] == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
                found.append(json.dumps(told["args"])[:400])
            elif event["method"] == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
                found.append(told["entry"]["text"])
        return found

    def requests(self) -> list[str]:
        """The addresses that the page asked for, itself included; data and blobs are in it already."""
        asked = [event["params"]["request"]["url"] for event in self.events
                 if event["method"] == "Network.requestWillBeSent"]  # fmt: skip
        return [url for url in asked if not url.startswith(("data:", "blob:"))]

    def picture(self, path: Path, *, whole: bool = False, quality: int = 80) -> Path:
        """A picture of what is seen, or of the whole page, by the name's ending (.png or .webp)."""
        kind = path.suffix.lstrip(".")
        more = {} if kind == "png" else {"quality": quality}
        shot = self.call("Page.captureScreenshot", format=kind, captureBeyondViewport=whole, **more)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path
