"""Several gateway processes on one port: started, kept going, and stopped by the one that was called.

Always true: the port is taken before anything starts and stays taken until every process has ended; a process that ends without
being asked is started again, later each time (at most every RESTART_S); when this process is gone the others notice and stop.
The kernel deals connections out to the processes that listen on the port (SO_REUSEPORT).
Called by: gateway.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

from trunkline.errors import InvalidSetting

SIBLING_OF = "TRUNKLINE_GATEWAY_SIBLING_OF"  # in the environment of each process: the id of the one that keeps it
RESTART_S = 30.0
FIRST_RESTART_S = 0.5
STEADY_S = 60.0  # a process that ran so long is not the one that cannot start
LOOK_S = 1.0


def reserve(host: str, port: int) -> socket.socket:
    """The port, held and not listened on.

    Raises:
        InvalidSetting: it is taken, or this system cannot share one.
    """
    held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((host, port))
    except (OSError, AttributeError) as error:
        held.close()
        raise InvalidSetting(f"cannot share {host} port {port} between processes: {error}. Set another port, or --workers 1.") from None
    return held


def keeper() -> int | None:
    """The process that keeps this one; None: nobody does."""
    found = os.environ.get(SIBLING_OF, "")
    return int(found) if found.isdecimal() else None


async def keeper_gone(process_id: int) -> None:
    """Return when it has ended."""
    while os.getppid() == process_id:  # noqa: ASYNC110 - nobody tells an orphan
        await asyncio.sleep(LOOK_S)


def next_pause(before_s: float, ran_s: float) -> float:
    """Seconds until a process that ended after `ran_s` is started again; `before_s` were waited before that one, 0 for the first."""
    return FIRST_RESTART_S if ran_s >= STEADY_S or not before_s else min(before_s * 2, RESTART_S)


class Siblings:
    """`count` processes of `trunkline gateway` (or `serve`: `command`) on one port."""

    def __init__(self, command: str, count: int, host: str, port: int, environ: Mapping[str, str]) -> None:
        self._count = count
        self._command = [sys.executable, "-m", "trunkline.cli", command, "--host", host, "--port", str(port), "--json"]
        self._environ = {**os.environ, **environ, SIBLING_OF: str(os.getpid())}
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._kept: list[asyncio.Task[None]] = []
        self._is_stopping = False
        self.stopped: list[dict[str, int]] = []  # what each said at its end

    async def start(self) -> None:
        """Start them all; return when each accepts connections.

        Raises:
            InvalidSetting: one ended at once; it has said why.
        """
        ready = [asyncio.Event() for _ in range(self._count)]
        self._kept = [asyncio.create_task(self._keep(n, each)) for n, each in enumerate(ready)]
        waiting = [asyncio.create_task(each.wait()) for each in ready]
        try:
            while not all(each.done() for each in waiting):
                await asyncio.wait([*self._kept, *(each for each in waiting if not each.done())], return_when=asyncio.FIRST_COMPLETED)
                if any(each.done() for each in self._kept):
                    raise InvalidSetting("a gateway process did not start; what it said stands above.")
        finally:
            for each in waiting:
                each.cancel()

    async def stop(self, within_s: float) -> int:
        """Ask them to stop, and wait; the worst exit code. Those that take longer than `within_s` are killed."""
        self._is_stopping = True
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        _, late = await asyncio.wait(self._kept, timeout=within_s) if self._kept else (set(), set())
        for process in tuple(self._running.values()):
            with suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(*self._kept, return_exceptions=True)
        return 1 if late or any(each.get("unreported") for each in self.stopped) else 0

    async def _keep(self, number: int, ready: asyncio.Event) -> None:
        pause_s = 0.0
        while not self._is_stopping:
            began = time.monotonic()
            process = await asyncio.create_subprocess_exec(
                *self._command, env=self._environ, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, start_new_session=True
            )
            self._running[number] = process
            await self._listen(process, ready)
            await process.wait()
            if self._is_stopping or not ready.is_set():
                return
            pause_s = next_pause(pause_s, time.monotonic() - began)
            await asyncio.sleep(pause_s)

    async def _listen(self, process: asyncio.subprocess.Process, ready: asyncio.Event) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            with suppress(ValueError):
                said = json.loads(line)
                if said.get("event") == "ready":
                    ready.set()
                elif said.get("event") == "stopped":
                    self.stopped.append(said)
