"""Rooms for tests of who asks: two tenants, a service for tokens, JWTs of every kind."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from trunkline.auth import Customers, Tokens
from trunkline.settings import Settings
from trunkline.store import Store, sessions

SECRET = "a secret of sixty-four characters, so that every HMAC is content with it"


@pytest.fixture
async def tenant(store: Store) -> int:
    """A customer."""
    return await sessions.tenant_id(store, "customer-001")


@pytest.fixture
async def other(store: Store) -> int:
    """Another customer."""
    return await sessions.tenant_id(store, "customer-002")


@pytest.fixture
def tokens(store: Store) -> Tokens:
    """Tokens of all tenants."""
    return Tokens(store)


@pytest.fixture
def customers(store: Store) -> Customers:
    """A door's memory of tokens."""
    return Customers(store)


@pytest.fixture
def settings() -> Settings:
    """HS256 with audience and issuer."""
    return Settings.load({}, jwt_secret=SECRET, jwt_audience="app", jwt_issuer="https://issuer")


@pytest.fixture
def signed() -> Callable[..., str]:
    """A JWT that is good, or with changed claims (None leaves one out) and another key or algorithm."""

    def sign(*, key: Any = SECRET, algorithm: str = "HS256", **change: Any) -> str:
        claims = {"sub": "user-1", "exp": int(time.time()) + 60, "aud": "app", "iss": "https://issuer", "tenant": "customer-001", **change}
        return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm=algorithm)

    return sign
