"""A TCP port in front of another one: its connections can be cut, sent elsewhere, and have their answers swallowed.

Always true: nothing of it is left when its block is over.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType


class Switch:
    """`async with Switch(port) as switch:` listens on `switch.port`. `target` is where the next connection goes."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.connections = 0
        self.is_mute = False  # what comes from the other side is read and goes no further
        self.is_closed = False  # new connections end at once
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Switch:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def cut(self) -> None:
        """End every connection without a goodbye."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.is_closed:
            writer.transport.abort()
            return
        with contextlib.suppress(OSError):
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers |= {writer, there_writer}
            await asyncio.gather(self._pass(reader, there_writer, back=False), self._pass(there_reader, writer, back=True))
            self._writers -= {writer, there_writer}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, back: bool) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while chunk := await reader.read(65536):
                if not (back and self.is_mute):
                    writer.write(chunk)
                    await writer.drain()
        writer.transport.abort()
