"""The gateway's sockets on a port: Starlette for the routes, uvicorn for HTTP and WebSocket.

Always true: a frame larger than MAX_BYTES never reaches us; a socket whose client does not answer a ping within 5 s is closed;
nothing is compressed (it costs up to 300 KB a socket) unless asked for.
Called by: app.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from trunkline.errors import InvalidSetting
from trunkline.gateway.gateway import Gateway, GatewayStopped
from trunkline.gateway.raw import RawPeer
from trunkline.wire.text import MAX_BYTES

PING_S = 5.0
ABORT_AFTER_S = 5.0


def routes(gateway: Gateway, rest: ASGIApp | None = None) -> Starlette:
    """The ASGI application: `/ws/raw`, and behind it whatever else the port answers. More transports stand beside it."""

    async def raw(websocket: WebSocket) -> None:
        await RawPeer(gateway, websocket).run()

    app = Starlette(routes=[WebSocketRoute("/ws/raw", raw)])
    if rest is not None:
        app.router.default = rest  # no mount: its pattern does not match every path that HTTP knows
    return app


class _Protocol(WebSocketsSansIOProtocol):
    """Ends for certain: a transport that is closed waits for its client to read the rest, which a client that does not read never does."""

    async def run_asgi(self) -> None:
        try:
            await super().run_asgi()
        finally:
            self.loop.call_later(ABORT_AFTER_S, self.transport.abort)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.loop.call_later(ABORT_AFTER_S, self.transport.abort)


class _Quiet(uvicorn.Server):
    """Signals belong to whoever runs the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """Listens from `start` to `stop`."""

    def __init__(self, gateway: Gateway, host: str, port: int, *, rest: ASGIApp | None = None, proxies: str = "") -> None:
        self.gateway, self._host, self._port = gateway, host, port
        self._rest, self._proxies = rest, proxies
        self._server: _Quiet | None = None
        self._task: asyncio.Task[None] | None = None
        self.port = port

    async def start(self) -> int:
        """Bind, start the gateway, accept; the port, also where any was asked for.

        Raises:
            InvalidSetting: the address cannot be used.
        """
        try:
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            bound = socket.create_server((self._host, self._port), family=family, backlog=2048)
        except OSError as error:
            raise InvalidSetting(
                f"cannot listen on {self._host} port {self._port}: {error.strerror}. Set TRUNKLINE_HOST or TRUNKLINE_PORT."
            ) from None
        # Accepted sockets inherit it. asyncio leaves it out for sockets made without naming their protocol, and then an answer in two
        # writes waits for the client's delayed acknowledgement: 40 ms a request.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = bound.getsockname()[1]
        try:
            await self.gateway.start()
        except BaseException:
            bound.close()
            raise
        config = uvicorn.Config(
            routes(self.gateway, self._rest),
            ws=_Protocol,
            ws_max_size=MAX_BYTES,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PING_S,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(self._proxies),
            forwarded_allow_ips=self._proxies,
            timeout_graceful_shutdown=5,
        )
        self._server = _Quiet(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[bound]))
        while not self._server.started and not self._task.done():  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0.01)
        return self.port

    async def stop(self, timeout_s: float) -> GatewayStopped:
        """Stop the gateway, whose clients have `timeout_s` to report, then close the port. Twice is once."""
        stopped = await self.gateway.stop(timeout_s)
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await asyncio.gather(self._task, return_exceptions=True)
            self._server = self._task = None
        return stopped
