"""Development and production: what is open in the one and refused in the other.

Always true: in production no process starts while the test token of the documentation is live; everybody knows it.
"""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from typing import Literal

from trunkline.auth.tokens import DEFAULT_SCOPES, Tokens, token_hash
from trunkline.errors import InvalidInput, InvalidSetting
from trunkline.settings import Settings
from trunkline.store import Store, sessions, tokens

TEST_TOKEN = "test-customer-token-123"  # noqa: S105 - published, and therefore refused in production
TEST_TENANT = "customer-001"
Mode = Literal["development", "production"]


def mode_of(settings: Settings, *, is_embedded: bool) -> Mode:
    """TRUNKLINE_ENV; unset: development only with the embedded database and a bind that no other host reaches."""
    if settings.env is not None:
        return settings.env
    return "development" if is_embedded and is_loopback(settings.host) else "production"


def is_loopback(host: str) -> bool:
    """Whether only this host can connect there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def prepare(store: Store, mode: Mode) -> None:
    """Before a door opens: make the test token in development, make sure that there is none in production.

    Raises:
        InvalidSetting: production, and the test token is live.
    """
    hashed = token_hash(TEST_TOKEN)
    assert hashed is not None
    live = await tokens.by_hash(store, hashed)
    if mode == "production" and live is not None:
        raise InvalidSetting(
            "this is production (TRUNKLINE_ENV says so, or is not set and the database is your own), and the test token of the documentation "
            f"is live in tenant {live.tenant!r}. End it: trunkline tokens deactivate {live.token_id} --tenant {live.tenant}"
        )
    if mode == "development" and live is None:
        tenant_id = await sessions.tenant_id(store, TEST_TENANT)
        with suppress(InvalidInput):  # somebody ended it on purpose
            await Tokens(store).import_token(tenant_id, TEST_TOKEN, description="test token (development only)", scopes=DEFAULT_SCOPES)
