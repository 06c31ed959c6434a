"""What to do when there is no connection to the database, by its cause.

Called by: pool.
"""

from __future__ import annotations

import socket
import ssl

import asyncpg

HOST = "Correct the host in the URL, or make this machine able to resolve it."
WAYS: tuple[tuple[type[BaseException], str], ...] = (
    (asyncpg.InvalidPasswordError, "Correct user and password in the URL; in a URL, @ : / ? # and % of a password are written %40 %3A %2F %3F %23 %25."),
    (asyncpg.InvalidAuthorizationSpecificationError, "The server's pg_hba.conf lets no such user in from here: add a line for it and reload, or correct the URL."),
    (asyncpg.InvalidCatalogNameError, "Create the database, or correct its name at the end of the URL."),
    (asyncpg.TooManyConnectionsError, "The server has no connection left: end some, raise max_connections, or lower TRUNKLINE_POOL_MAX of each process."),
    (asyncpg.CannotConnectNowError, "The server starts, stops or recovers: look again in a moment, then at its log."),
    (socket.gaierror, HOST),
    (ssl.SSLError, "The certificate does not fit: correct sslmode and sslrootcert in the URL."),
    (ConnectionRefusedError, "Nothing listens there: start PostgreSQL, or correct host and port in the URL; from another machine, look at its listen_addresses."),
    (FileNotFoundError, "There is no such socket: start PostgreSQL, or correct the host in the URL."),
    (PermissionError, "This account may not use that socket: use another account, or a host and a port."),
    (TimeoutError, "Nobody answers: a firewall drops it, or the machine is down. Try: psql \"$TRUNKLINE_DATABASE_URL\""),
    (ConnectionError, "Something between here and the server ends the connection: a pooler that is full, a proxy, or sslmode. Look at the server's log."),
)  # fmt: skip


def advice(error: BaseException) -> str:
    """What to do, by the first cause that is known; "" for none."""
    cause: BaseException | None = error
    while cause is not None:
        for kind, way in WAYS:
            if isinstance(cause, kind):
                return way
        cause = cause.__cause__
    return ""
