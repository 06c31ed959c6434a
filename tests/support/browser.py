"""`Browser`: a real headless Chromium with one page, whose console is typed into and read, over its debugging protocol.

Always true: it is dead, and its profile gone, when its `with` block is over.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.until import until_now

NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")


def program() -> str:
    """The browser that is installed. Without one the test is skipped; in CI, which installs one, it fails."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        missing = f"no browser: none of {', '.join(NAMES)} is there"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    return found


class Browser:
    """`console` grows: what the page's console shows, a line each; a complaint of the browser's begins with its level."""

    def __init__(self) -> None:
        self.console: list[str] = []
        self._answers: dict[int, dict[str, Any]] = {}
        self._numbers = itertools.count(1)
        self._session: dict[str, str] = {}
        self._open = ExitStack()

    def open(self, url: str) -> None:
        """Go there, and wait until it is shown."""
        assert "errorText" not in self._ask("Page.navigate", url=url)
        until_now(lambda: self.type("document.readyState + location.href") == f"complete{url}", f"{url} is shown")

    def type(self, code: str) -> Any:
        """Type into the console; the value, where it is plain. A mistake fails the test."""
        answer = self._ask("Runtime.evaluate", expression=code, replMode=True, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def __enter__(self) -> Browser:
        with ExitStack() as opening:
            where = self._start(opening)
            self._socket = opening.enter_context(connect(where, max_size=None))
            self._listener = threading.Thread(target=self._listen, daemon=True)
            self._listener.start()
            target = self._ask("Target.createTarget", url="about:blank")["targetId"]
            self._session = {"sessionId": self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
            for domain in ("Runtime", "Log", "Page"):
                self._ask(f"{domain}.enable")
            self._open = opening.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.close()
        self._listener.join(10)

    def _start(self, opening: ExitStack) -> str:
        """Where its debugging protocol is spoken."""
        profile = opening.enter_context(tempfile.TemporaryDirectory(prefix="tl-browser-", ignore_cleanup_errors=True))
        arguments = ["--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-port=0"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")  # it refuses to make one as root
        process = subprocess.Popen(
            [program(), *arguments, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        opening.callback(process.wait, 20)
        opening.callback(_kill, process)
        said = Path(profile, "DevToolsActivePort")
        until_now(lambda: process.poll() is not None or (said.exists() and said.read_text().count("\n")), "the browser listens")
        assert process.poll() is None, f"{program()} ended with {process.returncode}"
        port, path = said.read_text().split()
        return f"ws://127.0.0.1:{port}{path}"

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters, **self._session}))
        until_now(lambda: number in self._answers or not self._listener.is_alive(), f"the browser's answer to {method}")
        answer = self._answers.pop(number)
        assert "error" not in answer, answer
        return dict(answer["result"])

    def _listen(self) -> None:
        try:
            for text in self._socket:
                message = json.loads(text)
                if "id" in message:
                    self._answers[message["id"]] = message
                elif message["method"] == "Runtime.consoleAPICalled":
                    said = message["params"]
                    self.console.append(" ".join(str(each.get("value", each.get("description", ""))) for each in said["args"]))
                elif message["method"] == "Log.entryAdded":
                    entry = message["params"]["entry"]
                    self.console.append(f"{entry['level']}: {entry['text']}")
        except ConnectionClosed:
            return


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
