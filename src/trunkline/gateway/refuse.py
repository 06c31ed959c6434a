"""An HTTP answer instead of a socket: what a door says to those it does not open for.

Called by: server, socketio.engine.
"""

from __future__ import annotations

from typing import Any

import msgspec


async def refuse(scope: Any, send: Any, status: int, sentence: str) -> None:
    """Answer a request, or the upgrade to a WebSocket, with `status` and a sentence."""
    body = msgspec.json.encode({"message": sentence})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status in (429, 503):
        headers.append((b"retry-after", b"5"))
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
