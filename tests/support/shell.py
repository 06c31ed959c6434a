"""`Shell`: a bash that is typed into, as a person's terminal; what it says is read as it comes."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tests.support.until import until_now


class Shell:
    """`said` holds both streams. It and everything it started is dead when its `with` block is over."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.said = ""
        self._ends = itertools.count(1)
        self._process = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def start(self, commands: str) -> None:
        """Type commands, the last of which stays."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{commands}\n".encode())
        self._process.stdin.flush()

    def run(self, commands: str, within_s: float = 60) -> str:
        """Type commands and wait until the last has ended; what they said. It fails where one of them does."""
        begin, end = len(self.said), f"--- end {next(self._ends)}: "
        self.start(f"trap 'echo failed: $BASH_COMMAND' ERR\n{commands}\ntrap - ERR; echo; echo '{end}'")
        is_over = lambda: f"\n{end}\n" in self.said or not self._listener.is_alive()  # noqa: E731
        until_now(is_over, f"{commands} has ended. It said {self.said[begin:]}", within_s=within_s)
        said = self.said[begin:].partition(f"\n{end}\n")[0]
        assert "failed: " not in said, said
        return said

    def interrupt(self) -> None:
        """Ctrl-C, and wait until what runs here has ended, and the shell with it."""
        os.killpg(self._process.pid, signal.SIGINT)
        with suppress(BrokenPipeError):
            self.start("exit")
        self._process.wait(60)
        self._listener.join(10)

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)
        self._listener.join(10)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        while read := os.read(self._process.stdout.fileno(), 65536):
            self.said += read.decode(errors="replace")
