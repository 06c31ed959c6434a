"""What is said when the database cannot be reached."""

from __future__ import annotations

import socket
import ssl

import asyncpg
import pytest

from trunkline.store.reaching import advice


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (asyncpg.InvalidPasswordError("password authentication failed"), "Correct user and password"),
        (asyncpg.InvalidAuthorizationSpecificationError("no pg_hba.conf entry"), "pg_hba.conf"),
        (asyncpg.InvalidCatalogNameError("no such database"), "Create the database"),
        (asyncpg.TooManyConnectionsError("too many clients"), "raise max_connections"),
        (asyncpg.CannotConnectNowError("starting up"), "look again in a moment"),
        (ConnectionRefusedError(111, "refused"), "Nothing listens there"),
        (socket.gaierror(-2, "unknown"), "Correct the host"),
        (FileNotFoundError(2, "none"), "There is no such socket"),
        (TimeoutError(), "Nobody answers"),
        (ConnectionResetError(104, "reset"), "a pooler that is full"),
        (ssl.SSLError("certificate verify failed"), "sslrootcert"),
        (ValueError("something else"), ""),
    ],
)
def test_no_connection_is_told_with_its_remedy(cause: Exception, said: str):
    """By what the driver raised, however deep it lies."""
    error = RuntimeError("between")
    error.__cause__ = cause

    assert said in advice(cause) and advice(cause) == advice(error)
    assert bool(said) == bool(advice(cause))
