"""Doors for programs: remote workers and senders over sockets, many tenants in one process.

`gateway.server` (Starlette, uvicorn) is imported by whoever opens a port; it wants the extra `server`.
"""

from trunkline.gateway.connection import Connection, Peer
from trunkline.gateway.gateway import Gateway, GatewayStopped

__all__ = ["Connection", "Gateway", "GatewayStopped", "Peer"]
