"""A proxy between clients and PostgreSQL that reads the protocol and can fail on purpose, at an exact statement.

Always true: it changes no byte that it passes on; what it holds back, it holds back whole messages of. It runs on a thread of
its own, so tests may use it from any loop and from processes.

    with Proxy(server_url) as proxy:                       # proxy.url is the way through it
        proxy.cut(sql="trunkline.enqueue_plain", when="after")      # the next such call commits, and its caller never hears
        held = proxy.hold(sql="trunkline.tick", when="before")      # ... or waits at the door until held.release()
        proxy.freeze(); proxy.thaw(); proxy.refuse(); proxy.cut_all(); proxy.mute()
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit, urlunsplit

_SSL, _GSS, _CANCEL = 80877103, 80877104, 80877102
When = Literal["before", "during", "after"]


class Rule:
    """One fault that waits for its statement.

    Attributes:
        met: set when a statement has met the fault: for `before`, when it stands at the door; for `during`, when it was
            passed on and nobody waits for its answer; for `after`, when the server has done it and its answer is held or gone.
        times_met: how many have.
    """

    def __init__(self, sql: str, when: When, times: int, holds: bool) -> None:
        self.sql, self.when, self.left, self.holds = sql, when, times, holds
        self.met = threading.Event()
        self.times_met = 0
        self._open = threading.Event()
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def release(self) -> None:
        """Let go what is held, and everything that comes after."""
        self.left = 0
        self._open.set()
        for loop, event in self._waiters:
            loop.call_soon_threadsafe(event.set)

    def take(self) -> None:
        """A statement has met the fault."""
        self.left -= 1
        self.times_met += 1

    async def opened(self) -> None:
        """Return when `release` was called."""
        event = asyncio.Event()
        self._waiters.append((asyncio.get_running_loop(), event))
        if not self._open.is_set():
            await event.wait()


class _Link:
    """One client's connection to the server."""

    def __init__(self, proxy: Proxy, client: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._proxy = proxy
        self._from_client, self._to_client = client
        self._statements: dict[bytes, str] = {}
        self._portal_sql: dict[bytes, str] = {}
        self._answers: list[Rule | None] = []  # for each answer the server owes, the fault that waits for it
        self._pending: Rule | None = None
        self.is_frozen = False

    async def run(self) -> None:
        """Pass messages on until either side ends."""
        first = await self._startup()
        if first is None:
            return
        self._from_server, self._to_server = await asyncio.open_unix_connection(self._proxy.server_path)
        try:
            self._to_server.write(first)
            if struct.unpack("!i", first[4:8])[0] == _CANCEL:
                await self._from_server.read()
                return
            both = [asyncio.create_task(self._upstream()), asyncio.create_task(self._downstream())]
            _, rest = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        finally:
            self._to_server.close()

    def cut(self) -> None:
        """Drop both sides at once, as a reset does."""
        self._to_client.transport.abort()
        if hasattr(self, "_to_server"):
            self._to_server.transport.abort()

    async def _startup(self) -> bytes | None:
        while True:
            size = await self._from_client.readexactly(4)
            body = await self._from_client.readexactly(struct.unpack("!i", size)[0] - 4)
            await self._flowing()
            if struct.unpack("!i", body[:4])[0] not in (_SSL, _GSS):
                return size + body
            self._to_client.write(b"N")

    async def _upstream(self) -> None:
        while True:
            kind, message = await self._message(self._from_client)
            sql = self._sql_of(kind, message)
            if sql is not None and (rule := self._proxy.rule_for(sql)) is not None:
                rule.take()
                if rule.when != "before":
                    self._pending = rule
                elif rule.holds:
                    rule.met.set()
                    await rule.opened()
                else:
                    self.cut()
                    rule.met.set()
                    return
            if kind in (b"S", b"Q"):  # the server answers each with one ReadyForQuery
                self._answers.append(self._pending)
                self._pending = None
            await self._flowing()
            self._to_server.write(message)
            await self._to_server.drain()
            if kind in (b"S", b"Q") and (rule := self._answers[-1]) is not None and rule.when == "during":
                self._to_client.transport.abort()
                self._to_server.close()  # not abort: the server must receive it
                rule.met.set()
                return

    async def _downstream(self) -> None:
        answer = b""
        while True:
            kind, message = await self._message(self._from_server)
            if kind == b"A" and self._proxy.is_muted:
                continue
            rule = self._answers[0] if self._answers else None
            answer += message
            if kind == b"Z" and self._answers:
                self._answers.pop(0)
                if rule is not None and rule.when == "after":
                    rule.met.set()
                    if not rule.holds:
                        self.cut()
                        return
                    await rule.opened()
                rule = None
            if rule is None:
                await self._flowing()
                self._to_client.write(answer)
                await self._to_client.drain()
                answer = b""

    async def _flowing(self) -> None:
        await self._proxy.flowing()
        if self.is_frozen:
            await asyncio.Event().wait()

    def _sql_of(self, kind: bytes, message: bytes) -> str | None:
        """The text of the statement that this message begins to execute, if it does."""
        if kind == b"Q":
            return message[5:-1].decode("utf-8", "replace")
        if kind == b"P":
            name, text, _ = message[5:].split(b"\0", 2)
            self._statements[name] = text.decode("utf-8", "replace")
        elif kind == b"B":
            portal, name, _ = message[5:].split(b"\0", 2)
            self._portal_sql[portal] = self._statements.get(name, "")
        elif kind == b"E":
            return self._portal_sql.get(message[5:].split(b"\0", 1)[0])
        return None

    @staticmethod
    async def _message(stream: asyncio.StreamReader) -> tuple[bytes, bytes]:
        head = await stream.readexactly(5)
        body = await stream.readexactly(struct.unpack("!i", head[1:])[0] - 4)
        return head[:1], head + body


class Proxy:
    """Stands at a loopback TCP port for a server that listens on a Unix socket."""

    def __init__(self, server_url: str) -> None:
        parts = urlsplit(server_url)
        query = parse_qs(parts.query)
        self.server_path = f"{query['host'][0]}/.s.PGSQL.{query.get('port', ['5432'])[0]}"
        self._user, self._database = parts.username, parts.path
        self._rules: list[Rule] = []
        self._links: set[_Link] = set()
        self._flow = asyncio.Event()
        self._is_refusing = False
        self.is_muted = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._on_loop(self._start())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._on_loop(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """The server's URL, through this proxy."""
        return urlunsplit(("postgresql", f"{self._user}@127.0.0.1:{self._port}", self._database, "", ""))

    def cut(self, sql: str, when: When, times: int = 1) -> Rule:
        """Cut the connection of the next `times` statements that contain `sql`: before they reach the server, while it does
        them, or after it has done them (the answer stays unsent)."""
        return self._add(Rule(sql, when, times, holds=False))

    def hold(self, sql: str, when: When, times: int = 1_000_000) -> Rule:
        """Hold such statements before the server, or their answers after it, until `release`."""
        return self._add(Rule(sql, when, times, holds=True))

    def cut_all(self) -> None:
        """Reset every connection now."""
        self._on_loop(self._cut_all())

    def freeze(self) -> None:
        """Pass nothing on any more, in either direction, and close nothing: what a dead network looks like."""
        self._on_loop(self._set_flow(False))

    def freeze_present(self) -> None:
        """The same for the connections of this moment, for ever; new ones work."""
        self._on_loop(self._freeze_present())

    def thaw(self) -> None:
        """End `freeze`: everything held goes on."""
        self._on_loop(self._set_flow(True))

    def refuse(self, refusing: bool = True) -> None:
        """Close new connections at once; those that are there stay."""
        self._is_refusing = refusing

    def mute(self, muted: bool = True) -> None:
        """Swallow notifications."""
        self.is_muted = muted

    # -- on the proxy's own loop ----------------------------------------------------

    async def flowing(self) -> None:
        """Return when nothing is frozen."""
        await self._flow.wait()

    def rule_for(self, sql: str) -> Rule | None:
        """The first fault that waits for this statement."""
        return next((rule for rule in self._rules if rule.left > 0 and rule.sql in sql), None)

    def _add(self, rule: Rule) -> Rule:
        self._rules.append(rule)
        return rule

    def _on_loop(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _start(self) -> None:
        self._flow.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._server.close()
        for rule in self._rules:
            rule.release()
        await self._cut_all()
        await self._set_flow(True)
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(3):  # transports that were closed let their sockets go in the next rounds of the loop
            await asyncio.sleep(0)

    async def _set_flow(self, flowing: bool) -> None:
        (self._flow.set if flowing else self._flow.clear)()

    async def _freeze_present(self) -> None:
        for link in self._links:
            link.is_frozen = True

    async def _cut_all(self) -> None:
        for link in list(self._links):
            link.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_refusing:
            writer.transport.abort()
            return
        link = _Link(self, (reader, writer))
        self._links.add(link)
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
                await link.run()
        finally:
            self._links.discard(link)
            writer.close()
