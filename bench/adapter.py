"""Runs one command of one peer as a process and talks to it in lines.

Always true: when the `async with` block ends, the process and its children are gone.
The commands are listed in `bench/node/harness.mjs`.
Called by: measures. Calls: the scripts in bench/adapters and bench/node.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

from catalogue import Peer

LONGEST_LINE = 1 << 24  # bytes; the tally of 100 million jobs
STDERR_LINES = 20
FAREWELL_S = 5  # a closed stdin ends an adapter at once; past this it is killed


class AdapterFailed(RuntimeError):
    """The process ended, or answered something else than it was asked for."""


class Adapter:
    """A running command.

    Attributes:
        about: `version`, `runtime` and `settings` of the peer.
        seen: How many jobs this worker has handled so far.
        history: (epoch seconds, jobs handled) pairs, oldest first.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.about: dict[str, Any] = {}
        self.seen = 0
        self.history: list[tuple[float, int]] = []
        self._name = name
        self._process = process
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._stderr: collections.deque[str] = collections.deque(maxlen=STDERR_LINES)
        self._readers = [asyncio.create_task(self._read_answers()), asyncio.create_task(self._read_stderr())]

    async def expect(self, wanted: str) -> dict[str, Any]:
        """Wait for this event and return its fields."""
        answer = await self._answers.get()
        if answer["event"] == wanted:
            return answer
        raise self.failure(f"answered {answer['event']}, need {wanted}")

    def check(self) -> None:
        """Raise if the process has ended."""
        if self._process.returncode is not None:
            raise self.failure(f"ended with code {self._process.returncode}")

    def failure(self, what: str) -> AdapterFailed:
        """An error that says what happened and quotes the last lines of the process's stderr."""
        said = "\n  ".join(self._stderr)
        return AdapterFailed(f"{self._name} {what}" + (f". It said:\n  {said}" if said else ""))

    def tell(self, order: str) -> None:
        """Send one order."""
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(order.encode() + b"\n")

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
            if not line.startswith(b'{"event":'):  # something the peer printed
                self._stderr.append(line.decode(errors="replace").rstrip())
                continue
            answer = json.loads(line)
            match answer["event"]:
                case "seen":
                    self.seen = answer["count"]
                    self.history.append((answer["at"], answer["count"]))
                case "about":
                    self.about = {key: answer[key] for key in ("version", "runtime", "settings")}
                case _:
                    self._answers.put_nowait(answer)
        self._answers.put_nowait({"event": "the end of its output"})

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self._stderr.append(line.decode(errors="replace").rstrip())


@contextlib.asynccontextmanager
async def running(peer: Peer, *args: object, url: str, deadline_s: float) -> AsyncIterator[Adapter]:
    """Start `peer` with this command against the database at `url`.

    Args:
        deadline_s: The process ends itself after this long, should nobody else end it.
    """
    process = await asyncio.create_subprocess_exec(
        *peer.command,
        *map(str, args),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"BENCH_DATABASE_URL": url, "BENCH_DEADLINE_S": str(int(deadline_s) + FAREWELL_S)},
        limit=LONGEST_LINE,
        start_new_session=True,  # Ctrl-C reaches us alone, and the whole group can be killed
    )
    adapter = Adapter(f"{peer.name} {args[0]}", process)
    try:
        yield adapter
    finally:
        await adapter.end()
