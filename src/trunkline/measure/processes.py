"""The parent's end of a process of ours: orders go to its stdin as words, answers come from its stdout as JSON lines.

Always true: when the `async with` block ends, the process and whatever it started are gone; a process ends by itself when
its parent is gone (stdin closes) or its deadline has passed.
Called by: the measures. The other end: child.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

from trunkline.measure.run import MeasureFailed

LONGEST_LINE = 1 << 24  # bytes: the tally of 100 million jobs
STDERR_LINES = 20
FAREWELL_S = 5.0  # a closed stdin ends a child at once; past this it is killed


class Child:
    """A running role.

    Attributes:
        seen: the latest `seen` answer, how far it is: {"at": monotonic s, "handled": ..., "recorded": ...}.
        history: (monotonic s, jobs handled), oldest first.
    """

    def __init__(self, role: str, process: asyncio.subprocess.Process) -> None:
        self.seen: dict[str, Any] = {"at": 0.0, "handled": 0, "recorded": 0}
        self.history: list[tuple[float, int]] = []
        self.answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._role = role
        self._process = process
        self._stderr: collections.deque[str] = collections.deque(maxlen=STDERR_LINES)
        self._readers = [asyncio.create_task(self._read_answers()), asyncio.create_task(self._read_stderr())]

    async def expect(self, event: str) -> dict[str, Any]:
        """Wait for this answer.

        Raises:
            MeasureFailed: it ended or answered something else; says what it wrote to stderr.
        """
        answer = await self.answers.get()
        if answer["event"] == event:
            return answer
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), FAREWELL_S)  # what it says last is why
        raise self._failed(f"answered {answer['event']!r}, not {event!r}")

    def tell(self, order: str) -> None:
        """Send an order."""
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(order.encode() + b"\n")

    def check(self) -> None:
        """Raise MeasureFailed if the process has ended."""
        if self._process.returncode is not None:
            raise self._failed(f"ended with code {self._process.returncode}")

    async def end(self) -> None:
        """Let the process go, then make sure of it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), FAREWELL_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    async def _read_answers(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            answer = json.loads(line)
            if answer["event"] == "seen":
                self.seen = answer
                self.history.append((answer["at"], answer["handled"]))
            else:
                self.answers.put_nowait(answer)
        self.answers.put_nowait({"event": "the end of its output"})

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self._stderr.append(line.decode(errors="replace").rstrip())

    def _failed(self, what: str) -> MeasureFailed:
        said = "\n  ".join(self._stderr)
        return MeasureFailed(f"the process {self._role!r} {what}" + (f". It said:\n  {said}" if said else "."))


@contextlib.asynccontextmanager
async def started(role: str, url: str, deadline_s: float, **arguments: Any) -> AsyncIterator[Child]:
    """Start a role on the database at `url`.

    Args:
        role: a name in `roles.ROLES`; `arguments` are its keyword arguments.
        deadline_s: it ends itself after this long, should nobody else end it.
    """
    command = (sys.executable, "-m", "trunkline.measure.roles", role, json.dumps(arguments))
    async with launched(role, command, url, deadline_s) as child:
        yield child


@contextlib.asynccontextmanager
async def launched(role: str, command: Sequence[str], url: str, deadline_s: float) -> AsyncIterator[Child]:
    """The same for any program that takes orders and answers as `child` does."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # The URL may hold a password, which a command line would show to everybody on this host.
        env=os.environ | {"TRUNKLINE_BENCH_URL": url, "TRUNKLINE_BENCH_DEADLINE_S": str(int(deadline_s) + 1)},
        limit=LONGEST_LINE,
        start_new_session=True,  # Ctrl-C reaches the parent alone, and the whole group can be ended
    )
    child = Child(role, process)
    try:
        yield child
    finally:
        await child.end()
