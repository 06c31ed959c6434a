"""Which door a request comes to: `/ws/raw`, `/ws`, `/socket.io`, the document of these; everything else is the API's, or not found.

Always true: `/ws/raw` is looked at before `/ws`; a foreign page's request to a socket is refused before anything of it is read;
what browsers are told about the API by its CORS headers follows the same list (Settings.origins_in).
Called by: server.
"""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from trunkline.gateway.addresses import Addresses
from trunkline.gateway.gateway import Gateway
from trunkline.gateway.origins import Origins
from trunkline.gateway.raw import RawPeer
from trunkline.gateway.refuse import refuse
from trunkline.gateway.socketio.server import Server as SocketIo
from trunkline.observe.counts import Sockets
from trunkline.wire.asyncapi import served


class Front:
    """The ASGI application. `socketio` is by path, without a slash at its end."""

    def __init__(
        self, gateway: Gateway, addresses: Addresses, origins: Origins, socketio: dict[str, SocketIo], rest: ASGIApp | None = None
    ) -> None:
        """`rest`: what answers every HTTP path that no socket has."""
        self._gateway, self._addresses, self._origins, self._socketio, self._rest = gateway, addresses, origins, socketio, rest
        self._raw_counts = Sockets()

    def counts(self) -> dict[str, Sockets]:
        """What happened to sockets, by dialect: raw, ws, socket.io."""
        return {"raw": self._raw_counts, **{path.removeprefix("/"): each.eio.counts for path, each in self._socketio.items()}}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request or WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            return
        path = scope["path"].removesuffix("/")
        if self._rest is not None and scope["type"] == "http" and path not in self._socketio:
            await self._rest(scope, receive, send)
        elif not self._origins.allows_scope(scope):
            await refuse(scope, send, 403, "this origin is not allowed. List it in TRUNKLINE_CORS_ORIGINS.")
        elif path == "/ws/raw" and scope["type"] == "websocket":
            await self._raw(scope, receive, send)
        elif path in self._socketio:
            await self._socketio[path].eio.handle(scope, receive, send)
        elif path == "/api/asyncapi.json" and scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            await _document(scope, send)
        else:
            await refuse(scope, send, 404, "there is nothing here")

    async def _raw(self, scope: Any, receive: Any, send: Any) -> None:
        visit = self._addresses.enter((scope.get("client") or ("",))[0])
        if visit is None:
            await refuse(scope, send, 429, "too many connections of your address. Try again later.")
            return
        try:
            await RawPeer(self._gateway, WebSocket(scope, receive, send), visit.known, self._raw_counts).run()
        finally:
            visit.leave()


async def _document(scope: Any, send: Any) -> None:
    """What the sockets speak, for machines; made once, and sent to nobody who has it."""
    text, tag = served()
    has_it = any(
        name == b"if-none-match" and (value.strip() == b"*" or tag in (each.strip().removeprefix(b"W/") for each in value.split(b",")))
        for name, value in scope["headers"]
    )
    headers = [(b"etag", tag), (b"cache-control", b"public, max-age=300")]
    if not has_it:
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 304 if has_it else 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if has_it or scope["method"] == "HEAD" else text})
