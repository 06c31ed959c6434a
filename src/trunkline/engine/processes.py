"""A pool of child processes for `process=True` handlers.

Parent and child speak lines of JSON over pipes, so nothing is pickled and a child can be killed at any moment: on timeout,
on cancel and at shutdown. A child is kept for the next job; one that was killed or died is replaced.
Called by: engine.pools. The other end is engine.process_child.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from typing import Any

from trunkline.model import Fail, RetryAfter, Snooze
from trunkline.model.payload import decode, encode

LINE_MAX = 64 * 1024 * 1024


class ProcessHandlerError(Exception):
    """The handler raised in its process; the message is `Type: message`."""


class Processes:
    """At most `size` children."""

    def __init__(self, size: int) -> None:
        self._free: list[Process] = []
        self._all: set[Process] = set()
        self._slots = asyncio.Semaphore(size)

    async def call(self, module: str, function: str, payload: str, about: dict[str, Any]) -> Any:
        """Run `module.function` with the payload (JSON text) in a child; its result. `about`: what its log lines say of the job."""
        async with self._slots:
            child = await self._child()
            try:
                answer = await self._ask(
                    child, encode({"module": module, "function": function, "payload": payload, "about": about}, max_bytes=LINE_MAX)
                )
            except BaseException:
                self._kill(child)
                raise
            self._free.append(child)
        return _outcome(answer)

    async def _child(self) -> Process:
        while self._free:
            child = self._free.pop()
            if child.returncode is None:
                return child
            self._all.discard(child)
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "trunkline.engine.process_child", stdin=PIPE, stdout=PIPE, limit=LINE_MAX, start_new_session=True
        )
        self._all.add(child)
        return child

    async def _ask(self, child: Process, request: str) -> dict[str, Any]:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(request.encode() + b"\n")
        await child.stdin.drain()
        line = await child.stdout.readline()
        if not line:
            code = await child.wait()
            raise ProcessHandlerError(f"the process of this handler died (exit status {code})")
        answer = decode(line.decode())
        assert isinstance(answer, dict)
        return answer

    def _kill(self, child: Process) -> None:
        self._all.discard(child)
        if child.returncode is None:
            child.kill()

    async def close(self) -> None:
        """Kill every child and wait for its end."""
        children, self._all = self._all, set()
        self._free.clear()
        for child in children:
            if child.returncode is None:
                child.kill()
        await asyncio.gather(*(child.wait() for child in children))


def _outcome(answer: dict[str, Any]) -> Any:
    match answer:
        case {"result": result}:
            return result
        case {"fail": reason}:
            raise Fail(reason)
        case {"snooze": seconds}:
            raise Snooze(seconds)
        case {"retry_after": seconds, "reason": reason}:
            raise RetryAfter(seconds, reason)
        case _:
            raise ProcessHandlerError(f"{answer.get('type')}: {answer.get('error')}")
