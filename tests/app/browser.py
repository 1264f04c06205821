"""A headless Chromium, driven by its DevTools protocol: what a visitor does, and what the browser asks for."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"),
    "--remote-debugging-port=0",
)


def chromium() -> str | None:
    """Path of a Chromium; ``None`` if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of a browser of its own."""

    def __init__(self, width: int = 1280, height: int = 1600) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lem-browser-", ignore_cleanup_errors=True)
        self._downloads = Path(self._folder.name) / "downloads"
        self._downloads.mkdir()
        self._size, self._last = (width, height), 0
        self.requested: list[str] = []
        self.errors: list[str] = []

    def __enter__(self) -> Browser:
        from websockets.sync.client import connect

        self._process = subprocess.Popen(
            [str(chromium()), *_FLAGS, f"--user-data-dir={self._folder.name}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        port_file = Path(self._folder.name) / "DevToolsActivePort"
        _until(lambda: port_file.is_file() and port_file.read_text().count("\n") == 1, 60, "the browser did not start")
        port, path = port_file.read_text().split()
        self._socket = connect(f"ws://127.0.0.1:{port}{path}", max_size=1 << 28, proxy=None, open_timeout=60)
        target = self._send("Target.createTarget", {"url": "about:blank"}, session=None)["targetId"]
        attached = self._send("Target.attachToTarget", {"targetId": target, "flatten": True}, session=None)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "DOM"):
            self._send(f"{domain}.enable")
        self._send(
            "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(self._downloads)}, session=None
        )
        self.resize(*self._size)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(20)
        self._folder.cleanup()

    def resize(self, width: int, height: int) -> None:
        """Another window; below 500 pixels it is a phone."""
        self._send(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )

    def open(self, address: str) -> None:
        """Go to a page."""
        self._send("Page.navigate", {"url": address})

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript."""
        answer = self._send(
            "Runtime.evaluate", {"expression": script, "returnByValue": True, "awaitPromise": True, "userGesture": True}
        )
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """What an element says; empty where there is none."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def wait_for(self, script: str, seconds: float = 180.0) -> None:
        """Wait until an expression is true."""
        _until(lambda: self.run(f"!!({script})"), seconds, f"{script} did not become true; errors: {self.errors}")

    def click(self, selector: str) -> None:
        """Press an element."""
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def fill(self, selector: str, text: str) -> None:
        """Type into a field, and leave it."""
        self.run(
            f"""(() => {{
                const field = document.querySelector({json.dumps(selector)});
                const kind = field.tagName === "TEXTAREA" ? HTMLTextAreaElement : HTMLInputElement;
                Object.getOwnPropertyDescriptor(kind.prototype, "value").set.call(field, {json.dumps(text)});
                for (const event of ["input", "change", "blur", "pointerup"])
                    field.dispatchEvent(new Event(event, {{ bubbles: true }}));
            }})()"""
        )

    def choose_file(self, selector: str, file: Path) -> None:
        """Choose a file to upload."""
        node = self._send("Runtime.evaluate", {"expression": f"document.querySelector({json.dumps(selector)})"})
        self._send("DOM.setFileInputFiles", {"files": [str(file)], "objectId": node["result"]["objectId"]})

    def download(self, selector: str, name: str) -> bytes:
        """Press an element that downloads a file of this name, and read the file."""
        file = self._downloads / name
        file.unlink(missing_ok=True)
        self.click(selector)
        _until(file.is_file, 30, f"{name} was not downloaded")
        return file.read_bytes()

    def screenshot(self, file: Path) -> None:
        """Save a picture of the whole page."""
        picture = self._send("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
        file.write_bytes(base64.b64decode(picture["data"]))

    def _send(self, method: str, parameters: dict[str, Any] | None = None, session: str | None = "page") -> Any:
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters or {}}
        if session is not None:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=120))
            self._note(answer)
            if answer.get("id") == message["id"]:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Network.requestWillBeSent":
            self.requested.append(event["params"]["request"]["url"])
        elif event.get("method") == "Network.webSocketCreated":
            self.requested.append(event["params"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(event["params"]["exceptionDetails"])[:500])


def _until(holds: Callable[[], Any], seconds: float, otherwise: str) -> Any:
    """The value of a function once it is true."""
    end = time.monotonic() + seconds * float(os.environ.get("LEM_TEST_PATIENCE", "1"))
    while not (value := holds()):
        assert time.monotonic() < end, otherwise
        time.sleep(0.05)
    return value
