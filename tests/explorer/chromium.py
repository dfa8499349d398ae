"""A headless Chromium, driven over its debugging protocol with what Streamlit depends on already."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --remote-debugging-port=0"
)


def executable() -> str | None:
    """Path of an installed Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    process.wait(timeout=20)


class Chromium:
    """One browser with one page. Use as a context manager.

    Attributes:
        errors: uncaught exceptions, console errors and failed requests of the page, as texts.
    """

    def __init__(self, profile: Path, width: int = 1280, height: int = 900):
        self.errors: list[str] = []
        self._profile, self._width, self._height = profile, width, height
        self._open = ExitStack()
        self._last_id = 0

    def __enter__(self) -> Self:
        command = [executable(), *_FLAGS.split(), f"--user-data-dir={self._profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._open.callback(_end, process)
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port()}/json/list") as answer:
            page = next(target for target in json.load(answer) if target["type"] == "page")
        # A page of this machine: no proxy, and pictures are larger than the usual limit.
        connection = connect(page["webSocketDebuggerUrl"], max_size=1 << 28, proxy=None)
        self._socket = self._open.enter_context(connection)
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")
        self._resize(self._height)
        return self

    def __exit__(self, *_) -> None:
        self._open.close()

    def open(self, url: str) -> None:
        self._call("Page.navigate", url=url)

    def value(self, expression: str):
        """The value of a JavaScript expression in the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    def wait_until(self, expression: str, seconds: float = 120) -> None:
        """Return once the expression is true.

        Raises:
            TimeoutError: it did not become true; says what the page shows instead.
        """
        end = time.monotonic() + seconds
        while not self.value(expression):
            if time.monotonic() > end:
                shown = self.value("document.body.innerText")
                raise TimeoutError(
                    f"not true after {seconds} s: {expression}; the page shows: {shown!r:.600}"
                )
            time.sleep(0.1)

    def prefer_dark(self) -> None:
        """As of a reader whose system has a dark theme."""
        feature = {"name": "prefers-color-scheme", "value": "dark"}
        self._call("Emulation.setEmulatedMedia", features=[feature])

    def saved(self, folder: Path, click: str, seconds: float = 120) -> Path:
        """The file that a click saves into an empty folder.

        Args:
            click: a JavaScript expression that clicks.

        Raises:
            TimeoutError: there is none.
        """
        folder.mkdir()
        self._call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self.value(click)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            # While it comes, Chromium has another name for it.
            files = [path for path in folder.iterdir() if not path.name.endswith((".crdownload", ".tmp"))]
            if files:
                return files[0]
            time.sleep(0.1)
        raise TimeoutError(f"no file after {seconds} s: {click}")

    def screenshot(self, path: Path, height: int) -> None:
        """Save the page, down to a height, as a PNG file."""
        self._resize(height)
        time.sleep(1.5)  # charts follow the new size
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def _resize(self, height: int) -> None:
        size = {"width": self._width, "height": height, "deviceScaleFactor": 1}
        self._call("Emulation.setDeviceMetricsOverride", **size, mobile=self._width < 600)

    def _port(self) -> str:
        file = self._profile / "DevToolsActivePort"
        for _ in range(300):
            if file.exists() and (lines := file.read_text().splitlines()):
                return lines[0]
            time.sleep(0.1)
        raise TimeoutError("Chromium did not open its debugging port within 30 s")

    def _call(self, method: str, **parameters) -> dict:
        """The answer to a command; what the page reports in the meantime is noted."""
        self._last_id += 1
        self._socket.send(json.dumps({"id": self._last_id, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == self._last_id:
                return message["result"]
            self._note_error(message["method"], message["params"])

    def _note_error(self, method: str, parameters: dict) -> None:
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(parameters["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "assert"):
            self.errors.append(json.dumps(parameters["args"])[:500])
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
