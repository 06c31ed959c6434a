"""`Program`: a trunkline command as a process, with pipes or a terminal of 100 columns, and what it has said so far.

Always true: it is dead when its `with` block is over.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.support.until import until_now

ROOT = Path(__file__).parents[2]
COLUMNS, LINES = 100, 50
_OURS = re.compile(r"^(TRUNKLINE_|DATABASE_URL$|PGBOSS_|NO_COLOR$|FORCE_COLOR$|COLUMNS$|LINES$)")
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def environment(**more: str) -> dict[str, str]:
    """This process's environment without any setting, and `more`."""
    kept = {name: value for name, value in os.environ.items() if not _OURS.match(name)}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "TERM": "xterm-256color", **more}


class Program:
    """Starts at once. `said` grows; with a terminal it holds both streams, escape sequences and all."""

    def __init__(self, arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path, terminal: bool = False) -> None:
        self.said, self.complained = "", ""
        self._threads: list[threading.Thread] = []
        if terminal:
            ours, theirs = pty.openpty()
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
            streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        else:
            streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trunkline.cli", *arguments], env=dict(env), cwd=cwd, start_new_session=True, **streams
        )
        if terminal:
            os.close(theirs)
            self._listen(ours, "said")
        else:
            assert self.process.stdout is not None and self.process.stderr is not None
            self._listen(self.process.stdout.fileno(), "said")
            self._listen(self.process.stderr.fileno(), "complained")

    def until(self, text: str) -> str:
        """Wait until `text` was said; everything said so far."""
        until_now(lambda: text in self.said or self.process.poll() is not None, f"{text!r} in {self.said!r} {self.complained!r}")
        until_now(lambda: text in self.said or not any(thread.is_alive() for thread in self._threads), "the end of what it says")
        assert text in self.said, f"it ended without {text!r}: {self.said!r} {self.complained!r}"
        return self.said

    def signal(self, number: int) -> None:
        """Send a signal, as a terminal does at Ctrl-C."""
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for its end; the exit code."""
        code = self.process.wait(60)
        for thread in self._threads:
            thread.join(10)
        return code

    @property
    def plain(self) -> str:
        """What it said, without escape sequences and overwritten lines' returns."""
        return _CONTROLS.sub("", self.said).replace("\r\n", "\n")

    def __enter__(self) -> Program:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.end()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _listen(self, descriptor: int, name: str) -> None:
        def listen() -> None:
            while True:
                try:
                    read = os.read(descriptor, 65536)
                except OSError:  # a terminal's other end is gone
                    read = b""
                if not read:
                    return
                setattr(self, name, getattr(self, name) + read.decode(errors="replace"))

        self._threads.append(threading.Thread(target=listen, daemon=True))
        self._threads[-1].start()
