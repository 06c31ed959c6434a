"""The gateway's sockets on a port: uvicorn for HTTP and WebSocket, Socket.IO, the plain WebSocket and the API behind it.

Always true: a frame larger than MAX_BYTES never reaches us; a socket whose client does not answer a ping within 5 s is closed;
nothing is compressed unless WS_COMPRESSION says so (it costs up to 300 KB a socket); nobody's word about an address is believed but TRUSTED_PROXIES'.
`stop` accepts nothing more, lets workers report, closes sockets so that clients come back, then the port's last connections.
Called by: app.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from trunkline.errors import InvalidSetting
from trunkline.gateway.addresses import Addresses
from trunkline.gateway.dialect import GatewayDialect
from trunkline.gateway.front import Front
from trunkline.gateway.gateway import Gateway, GatewayStopped
from trunkline.gateway.origins import Origins
from trunkline.gateway.protocols import Http, WebSockets
from trunkline.gateway.socketio.link import Dialect
from trunkline.gateway.socketio.server import Server as SocketIo
from trunkline.gateway.watchers import Watchers
from trunkline.observe.counts import Sockets
from trunkline.realtime import Presence
from trunkline.settings import Settings
from trunkline.wire.text import MAX_BYTES

PING_S = 5.0


def applications(
    gateway: Gateway,
    dialects: Mapping[str, Dialect],
    settings: Settings,
    *,
    is_development: bool,
    websocket_only: bool,
    rest: ASGIApp | None = None,
) -> tuple[Front, dict[str, SocketIo]]:
    """The ASGI application, and the Socket.IO servers in it by path."""
    addresses = Addresses(settings.address_connections, settings.address_unknown, settings.address_connect_rate)
    origins = Origins(settings.origins_in(is_development=is_development))
    socketio = {
        "/ws": SocketIo(
            {"/": GatewayDialect(gateway)},
            addresses,
            ping_s=PING_S,
            ping_timeout_s=PING_S,
            allows=origins.allows_environ,
            websocket_only=websocket_only,
        ),
        "/socket.io": SocketIo(
            dialects,
            addresses,
            ping_s=settings.ping_interval_s,
            ping_timeout_s=settings.ping_timeout_s,
            allows=origins.allows_environ,
            websocket_only=websocket_only,
        ),
    }
    return Front(gateway, addresses, origins, socketio, rest), socketio


class _Quiet(uvicorn.Server):
    """Signals belong to whoever runs the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """Listens from `start` to `stop`."""

    def __init__(
        self,
        gateway: Gateway,
        watchers: Watchers,
        dialects: Mapping[str, Dialect],
        host: str,
        port: int,
        settings: Settings,
        *,
        rest: ASGIApp | None = None,
        presence: Presence | None = None,
        is_development: bool = False,
        shares_port: bool = False,
    ) -> None:
        """
        Args:
            dialects: of `/socket.io`, by namespace; `watchers`: those that they let in.
            rest: answers every HTTP path that no socket has; None: there is nothing.
        """
        self.gateway, self.watchers, self.dialects, self.presence = gateway, watchers, dialects, presence
        self._host, self._port, self._settings = host, port, settings
        self._shares_port = shares_port
        self._front, self.socketio = applications(
            gateway, dialects, settings, is_development=is_development, websocket_only=settings.websocket_only or shares_port, rest=rest
        )
        self._server: _Quiet | None = None
        self._task: asyncio.Task[None] | None = None
        self._counting: asyncio.Task[None] | None = None
        self.port = port

    def socket_counts(self) -> dict[str, Sockets]:
        """What happened to sockets since it was made, by dialect."""
        return self._front.counts()

    async def start(self) -> int:
        """Bind, start the gateway, accept; the port, also where any was asked for.

        Raises:
            InvalidSetting: the address cannot be used.
        """
        try:
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            bound = socket.create_server((self._host, self._port), family=family, backlog=2048, reuse_port=self._shares_port)
        except OSError as error:
            why = str(error.strerror).partition(" (while")[0]  # Python repeats the address there
            raise InvalidSetting(f"cannot listen on {self._host} port {self._port}: {why}. Set TRUNKLINE_HOST or TRUNKLINE_PORT.") from None
        # Accepted sockets inherit it. asyncio leaves it out for sockets made without naming their protocol, and then an answer in two
        # writes waits for the client's delayed acknowledgement: 40 ms a request.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = bound.getsockname()[1]
        try:
            await self.gateway.start()
        except BaseException:
            bound.close()
            raise
        self.watchers.start()
        if self.presence is not None:
            self._counting = asyncio.create_task(self.presence.run())
        config = uvicorn.Config(
            self._front,
            http=Http,
            ws=WebSockets,
            ws_max_size=MAX_BYTES,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PING_S,
            ws_per_message_deflate=self._settings.ws_compression,
            proxy_headers=bool(self._settings.proxies),
            forwarded_allow_ips=list(self._settings.proxies),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
        self._server = _Quiet(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[bound]))
        while not self._server.started and not self._task.done():  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0.01)
        return self.port

    async def stop(self, timeout_s: float) -> GatewayStopped:
        """Stop the gateway, whose clients have `timeout_s` to report, then close the port. Twice is once."""
        for listener in self._server.servers if self._server is not None else ():
            listener.close()  # a client that comes now finds another gateway, or comes again
        if self._counting is not None:  # its counts go with the session
            self._counting.cancel()
            await asyncio.gather(self._counting, return_exceptions=True)
        stopped = await self.gateway.stop(timeout_s)
        self.watchers.stop()
        for socketio in self.socketio.values():
            await socketio.shutdown()
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await asyncio.gather(self._task, return_exceptions=True)
            self._server = self._task = None
        return stopped
