"""TRUSTED_PROXIES: whose word about a client's address is believed, and what is no such setting."""

from __future__ import annotations

import httpx
import pytest

from trunkline.auth import Tokens
from trunkline.errors import InvalidSetting
from trunkline.settings import Settings


@pytest.mark.parametrize("value", ["proxy.internal", "10.0.0.1/8", "10.0.0.0/33", "127.0.0.1;10.0.0.1", "10.0.0.0/8, *", "fe80::/200"])
def test_what_is_no_address_and_no_network_stops_the_start(value):
    """A proxy that is not understood would be a proxy that is not believed, or one that everybody is."""
    with pytest.raises(InvalidSetting) as refused:
        Settings.load({"TRUNKLINE_TRUSTED_PROXIES": value})

    assert f"TRUNKLINE_TRUSTED_PROXIES is {value!r}: " in str(refused.value)
    assert "10.0.0.0/8" in str(refused.value) and "Unset it to use the default." in str(refused.value)


def test_addresses_and_networks_are_listed_with_commas():
    """Blanks do not matter; nobody is the default."""
    settings = Settings.load({"TRUNKLINE_TRUSTED_PROXIES": "127.0.0.1 , 10.0.0.0/8,fd00::/8,"})

    assert ("127.0.0.1", "10.0.0.0/8", "fd00::/8") == settings.proxies
    assert () == Settings.load({}).proxies and ("*",) == Settings.load({"TRUNKLINE_TRUSTED_PROXIES": "*"}).proxies


async def test_the_api_believes_an_address_only_of_a_proxy_that_is_trusted(app):
    """As the audit log has it. What a client wrote in front of the proxy's own entry is not believed either."""
    _, token = await Tokens(app.store).create(await app.tenant_id(None), scopes=frozenset({"admin"}))
    seen = []
    for proxies, saying in (
        ("", ["203.0.113.7"]),
        ("10.0.0.0/8", ["203.0.113.7"]),
        ("127.0.0.1", ["203.0.113.7", "198.51.100.1, 203.0.113.7", "x" * 5000]),
        ("127.0.0.0/8,10.0.0.0/8", ["198.51.100.1, 203.0.113.7, 10.1.1.1"]),
        ("*", ["203.0.113.7, 198.51.100.1"]),
    ):
        app.settings = app.settings.model_copy(update={"trusted_proxies": proxies})
        server = await app.start_gateway(port=0, mode="development", api=True)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", headers={"Authorization": f"Bearer {token}"}) as client:
            for said in saying:
                made = await client.post("/api/jobs", json={"type": "greet"}, headers={"X-Forwarded-For": said})
                (newest,) = (await client.get("/api/audit", params={"limit": 1})).json()["data"]
                seen.append((made.status_code, newest["address"]))
        await app.stop_gateway(0.0)

    assert [
        (201, each) for each in ("127.0.0.1", "127.0.0.1", "203.0.113.7", "203.0.113.7", "x" * 100, "203.0.113.7", "203.0.113.7")
    ] == seen
