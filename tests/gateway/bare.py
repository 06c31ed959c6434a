"""Socket.IO as bare frames over a WebSocket: for tests that open many sockets, or that say what no library would say."""

from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.until import until


class Bare:
    """One socket of one namespace.

    Attributes:
        accepted: what the CONNECT was answered; None: nothing (yet).
        heard: (event, arguments) in order; the offset at the end of those of a client that recovers is in `offset`.
        answered: how many calls were.
        closed: (code, reason) once it has ended.
    """

    def __init__(self, socket: ClientConnection, namespace: str) -> None:
        self.socket, self.namespace = socket, namespace
        self.prefix = "" if namespace == "/" else f"{namespace},"
        self.accepted: dict[str, Any] | None = None
        self.refused: Any = None
        self.offset: str | None = None
        self.recovers = False
        self.heard: list[tuple[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self.answered = 0
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, port: int, auth: Any = None, *, path: str = "/ws", namespace: str = "/") -> Bare:
        """A socket that has asked for its namespace; `auth` is sent as JSON."""
        url = f"ws://127.0.0.1:{port}{path}/?EIO=4&transport=websocket"
        made = cls(await connect(url, compression=None, max_size=None, ping_interval=None), namespace)
        made.recovers = isinstance(auth, dict) and bool(auth.get("recovery"))
        await made.socket.send(f"40{made.prefix}{'' if auth is None else json.dumps(auth)}")
        return made

    async def let_in(self) -> Bare:
        """Itself, once it is in."""
        await until(lambda: self.accepted is not None or self.is_over, "it is let in or refused")
        assert self.accepted is not None and not self.is_over, (self.refused, self.closed)
        return self

    @property
    def is_over(self) -> bool:
        """Whether it was refused or closed."""
        return self.refused is not None or self.closed is not None

    async def ask(self, name: str, data: Any) -> Any:
        """The answer to a call."""
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self.socket.send(f"42{self.prefix}{number}{json.dumps([name, data])}")
        return await asyncio.wait_for(answer, 30)

    def said(self, event: str) -> list[Any]:
        """The data of everything of one name."""
        return [data for name, data in self.heard if name == event]

    async def until(self, event: str, count: int = 1) -> list[Any]:
        """The first of one name, once they are there."""
        await until(lambda: len(self.said(event)) >= count, f"{count} × {event}; there is {self.heard} {self.closed}")
        return self.said(event)

    def kill(self) -> None:
        """The connection is gone without a goodbye."""
        self.socket.transport.abort()

    async def close(self) -> None:
        """A clean end."""
        await self.socket.close()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        with suppress(ConnectionClosed):
            async for frame in self.socket:
                if frame == "2":
                    await self.socket.send("3")
                elif str(frame).startswith("4"):
                    self._packet(str(frame)[1], str(frame)[2:].removeprefix(self.prefix))
        self.closed = (self.socket.close_code or 1006, self.socket.close_reason or "")
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError(f"closed: {self.closed}"))
                waiting.exception()

    def _packet(self, kind: str, text: str) -> None:
        digits = len(text) - len(text.lstrip("0123456789"))
        number, data = text[:digits], json.loads(text[digits:]) if text[digits:] else None
        if kind == "0":
            self.accepted = data
        elif kind == "4":
            self.refused = data
        elif kind == "3":
            self.answered += 1
            if not (waiting := self._answers.pop(int(number))).done():
                waiting.set_result(data[0])
        elif kind == "2":
            name, *arguments = data
            if self.recovers:
                self.offset = arguments[-1]
                arguments = arguments[:-1]
            self.heard.append((name, arguments[0] if arguments else None))
