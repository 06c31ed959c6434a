"""`app.limits` before anything runs: tenants that are not there, and what is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest

from trunkline.errors import InvalidInput, NotFound

ASKED = [
    lambda app: app.limits.list(tenant="typo"),
    lambda app: app.limits.remove(key="k", tenant="typo"),
    lambda app: app.limits.pause(key="k", tenant="typo"),
    lambda app: app.limits.resume(everything=True, tenant="typo"),
    lambda app: app.limits.unblock("k", tenant="typo"),
    lambda app: app.limits.quota_of("typo"),
    lambda app: app.batches.list(tenant="typo"),
]


async def test_asking_about_an_unknown_tenant_does_not_make_it(trunkline_app):
    """A quota makes it: a customer may have one before the first job."""
    for ask in ASKED:
        with pytest.raises(NotFound, match="typo"):
            await ask(trunkline_app)
    await trunkline_app.limits.quota("customer", queued=5)

    assert ["customer"] == [tenant.name for tenant in await trunkline_app.tenants.list() if tenant.name != "default"]


async def test_a_provider_s_wait_is_seconds_or_a_timedelta(trunkline_app):
    """As every other time."""
    await trunkline_app.limits.block("k", timedelta(minutes=5))
    (limit,) = await trunkline_app.limits.list()

    assert limit.blocked_until is not None


async def test_a_pause_of_nothing_names_its_arguments(trunkline_app):
    """By the words that they have."""
    with pytest.raises(InvalidInput, match="need exactly one of kind, key, everything"):
        await trunkline_app.limits.pause()
