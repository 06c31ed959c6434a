"""What an application opens to the outside: the gateway, the API, the port for Prometheus, and the reader of events behind them.

Always true: each is made on first use, and at most once at a time; what needs the extra trunkline[server] is imported then.
Part of the application (`app.Trunkline`), and of the composition root. Calls: doors.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from trunkline.engine import Gauges, Hooks, Privacy
from trunkline.errors import InvalidInput
from trunkline.realtime import Stream
from trunkline.settings import Settings
from trunkline.store import Signals, Store

if TYPE_CHECKING:
    from fastapi import APIRouter, FastAPI

    from trunkline.auth import Mode
    from trunkline.gateway import GatewayStopped
    from trunkline.gateway.server import Server
    from trunkline.gateway.services import Services as GatewayServices
    from trunkline.observe.scrape import Scrape
    from trunkline.rest import Api
    from trunkline.rest.services import Services as RestServices

    class Services(RestServices, GatewayServices, Protocol):
        """The application, as its doors see it."""


class Hosting(ABC):
    """The methods of an application that open ports and make ASGI applications."""

    settings: Settings
    hooks: Hooks
    privacy: Privacy
    gauges: Gauges
    _server: Server | None = None
    _api: Api | None = None
    _scrape: Scrape | None = None
    _stream: Stream | None = None

    @abstractmethod
    async def open(self, *, migrate: bool | None = None) -> Store:
        """The store, connected on first use; the application's own."""

    @abstractmethod
    def _services(self) -> Services:
        """The application itself."""

    @abstractmethod
    def _is_embedded(self) -> bool:
        """Whether the database is a folder's; the application's own."""

    @abstractmethod
    def _listening(self) -> Signals:
        """The LISTEN connection, once the application is open; the application's own."""

    def _is_development(self) -> bool:
        from trunkline.auth import mode_of

        return mode_of(self.settings, is_embedded=self._is_embedded()) == "development"

    async def start_gateway(
        self, *, host: str | None = None, port: int | None = None, mode: Mode | None = None, api: bool = False, shares_port: bool = False
    ) -> Server:
        """Open a port for remote workers and senders (extra: trunkline[server]).

        Args:
            api: the REST API on the same port, too.
            mode: "development" or "production"; None: as TRUNKLINE_ENV says (docs/tokens.md).
            shares_port: other processes listen on it, too (SO_REUSEPORT); then Socket.IO is spoken without polling.
        Raises:
            InvalidSetting: the address cannot be used, or the test token is live in production.
        """
        from trunkline.doors import open_gateway

        if self._server is not None:
            raise InvalidInput("this application runs a gateway already: stop it first.")
        store = await self.open()
        if api and mode is not None:
            self.api.mode = mode
        self._server = await open_gateway(
            self._services(),
            store,
            self._listening(),
            await self.stream(),
            host=host,
            port=port,
            mode=mode,
            is_embedded=self._is_embedded(),
            rest=self.asgi if api else None,
            shares_port=shares_port,
            hooks=self.hooks,
        )
        return self._server

    async def stop_gateway(self, timeout_s: float | None = None) -> GatewayStopped | None:
        """Hand back what no worker started, let the others report, close the port; `timeout_s` None: TRUNKLINE_SHUTDOWN_TIMEOUT."""
        server, self._server = self._server, None
        return None if server is None else await server.stop(self.settings.shutdown_timeout_s if timeout_s is None else timeout_s)

    @property
    def api(self) -> Api:
        """The REST API of this application (extra: trunkline[server]); mount `asgi` or `router` rather."""
        from trunkline.doors import make_api

        if self._api is None:
            self._api = make_api(self._services(), self._listening, self._is_embedded)
        return self._api

    @cached_property
    def asgi(self) -> FastAPI:
        """The whole REST API as an ASGI application: serve it, or mount it in your own.

        Where this process also works, make it before `start_worker`: its /metrics counts the attempts of a worker that starts afterwards.
        """
        from trunkline.doors import make_asgi

        return make_asgi(self.api, self.hooks, self.gauges)

    @cached_property
    def router(self) -> APIRouter:
        """Its routes under /api, for `include_router` of your own FastAPI application."""
        from trunkline.doors import make_router

        return make_router(self.api)

    async def start_metrics(self, *, host: str | None = None, port: int | None = None) -> int:
        """Open a port where Prometheus reads this process's counters and the gauges; the port. Call it before `start_worker`, whose attempts are counted.

        Args:
            host, port: None: TRUNKLINE_METRICS_HOST and TRUNKLINE_METRICS_PORT, else any free port of the loopback address.
        Raises:
            InvalidSetting: the address cannot be used.
        """
        from trunkline.doors import open_scrape

        if self._scrape is not None:
            raise InvalidInput(f"this application serves metrics already, at port {self._scrape.port}.")
        settings = self.settings
        asked = (settings.metrics_port or 0) if port is None else port
        await self.open()
        self._scrape = open_scrape(self.hooks, self.gauges, host or settings.metrics_host, asked)
        return self._scrape.port

    async def stream(self) -> Stream:
        """The reader of committed events of this process, started; see realtime.Stream."""
        store = await self.open()
        if self._stream is None:
            self._stream = Stream(
                store, self._listening().subscribe, window_s=self.settings.recovery_window_s, reveal=self.privacy.reveal_result
            )
        await self._stream.start()
        return self._stream

    async def _close_doors(self) -> None:
        """Nobody from outside reaches the application any more."""
        await self.stop_gateway()
        if self._api is not None:
            await self._api.close()
        if self._scrape is not None:
            await asyncio.to_thread(self._scrape.close)
            self._scrape = None

    async def _close_stream(self) -> None:
        """Nothing is read for watchers any more."""
        if self._stream is not None:
            await self._stream.stop()
            self._stream = None
