"""Requests at a steady pace over HTTP/1.1, and how long each answer took from the moment at which it was due.

Always true: a request that finds the server busy is late, and that counts; an answer that is no 200 ends the measure.
Called by: rest_latency.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from trunkline.measure.run import MeasureFailed

CONNECTIONS = 16
SLOWEST_S = 60.0


class Request(NamedTuple):
    """A GET of `path` by the holder of `token`."""

    path: str
    token: str


class Asker:
    """Connections to one server on this host, which are kept open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self._room = asyncio.Semaphore(CONNECTIONS)

    async def get(self, request: Request) -> bytes:
        """The body of the answer.

        Raises:
            MeasureFailed: it is no 200; says what it is.
        """
        async with self._room, asyncio.timeout(SLOWEST_S):
            while self._idle:
                reader, writer = self._idle.popleft()  # in turn, so that none is idle for long
                if not reader.at_eof():  # the server closes what was idle for five seconds
                    break
                writer.close()
            else:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                head, body = await _asked(reader, writer, request)
            except (OSError, EOFError) as error:
                raise MeasureFailed(f"GET {request.path} was not answered: {error!r}") from error
            self._idle.append((reader, writer))
        if not head.startswith("HTTP/1.1 200"):
            raise MeasureFailed(f"GET {request.path} was answered {head.splitlines()[0]}: {body[:500].decode(errors='replace')}")
        return body

    async def paced(self, requests: Sequence[Request], per_s: float) -> list[float]:
        """Ask all of them, `per_s` each second, whether or not the one before was answered; ms of each."""
        began = time.perf_counter() + 0.05

        async def one(n: int, request: Request) -> float:
            due = began + n / per_s
            await asyncio.sleep(due - time.perf_counter())
            await self.get(request)
            return (time.perf_counter() - due) * 1000

        return await asyncio.gather(*(one(n, request) for n, request in enumerate(requests)))

    async def close(self) -> None:
        """Close every connection."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()


async def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request) -> tuple[str, bytes]:
    """Head and body of the answer."""
    writer.write(f"GET {request.path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {request.token}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(line for line in head.lower().splitlines() if line.startswith("content-length:"))
    return head, await reader.readexactly(int(length.partition(":")[2]))
