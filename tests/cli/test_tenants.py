"""`trunkline tenants`, and the weights behind it."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Cli
from trunkline import Trunkline
from trunkline.errors import InvalidInput, NotFound


async def test_tenants_are_listed_with_what_waits_and_runs(cli: Cli):
    """By name; for people as a table."""
    for tenant in ("b", "a"):
        await cli("enqueue", "greet", "--tenant", tenant)
    await cli("enqueue", "greet", "--tenant", "a", "--delay", "1h")
    listed = (await cli("tenants", "--json")).json["tenants"]

    assert [("a", 1, 1, 1, 0), ("b", 1, 1, 0, 0)] == [(t["name"], t["weight"], t["ready"], t["deferred"], t["active"]) for t in listed]
    assert "in line" in (await cli("tenants", "list")).out


async def test_a_tenant_is_given_a_weight(cli: Cli):
    """It is said what it was."""
    await cli("enqueue", "greet", "--tenant", "a")
    first = await cli("tenants", "weight", "a", "5")
    again = await cli("tenants", "weight", "a", "5", "--json")

    assert "Tenant 'a' has weight 5; it was 1." in first.out
    assert {"tenant": "a", "weight": 5, "before": 5} == again.json


async def test_an_unknown_tenant_gets_no_weight(cli: Cli):
    """And is not made."""
    await cli("enqueue", "greet", "--tenant", "known")
    answer = await cli("tenants", "weight", "unknown", "5")

    assert 1 == answer.code
    assert "known" in answer.sentence
    assert ["known"] == [tenant["name"] for tenant in (await cli("tenants", "--json")).json["tenants"] if tenant["ready"]]


@pytest.mark.parametrize("weight", [0, 1001, 1.5, True])
async def test_a_weight_that_cannot_be_is_refused(app: Trunkline, weight: int):
    """In Python."""
    await app.tenant_id("a")

    with pytest.raises(InvalidInput, match="need an integer from 1 to 1000"):
        await app.tenants.set_weight("a", weight)


async def test_sql_refuses_the_same(app: Trunkline):
    """And tenant 0, which is no customer."""
    store, known = await app.open(), await app.tenant_id("a")
    for tenant_id, weight, error in ((known, 0, InvalidInput), (known, 1001, InvalidInput), (0, 2, NotFound), (999, 2, NotFound)):
        with pytest.raises(error):
            await store.fetch("select trunkline.set_weight($1, $2)", tenant_id, weight)


@pytest.mark.parametrize(
    "command",
    [
        ("limits", "set", "--queue", "mail", "--concurrency", "2"),
        ("limits", "block", "k", "5m"),
        ("limits", "quota", "--queued", "10"),
        ("schedules", "create", "pulse", "ping", "{}", "--every", "60"),
        ("templates", "save", "t", "ping", "{}"),
        ("retention", "set", "mail", "--completed", "12h"),
    ],
    ids=" ".join,
)
async def test_what_is_set_for_a_tenant_that_is_not_there_makes_it_as_an_enqueue_does(cli, command):
    """The same from Python; so a customer's limits can be set before its first job."""
    answer = await cli(*command, "--tenant", "new-customer")

    assert 0 == answer.code, answer.err
    assert "new-customer" in (await cli("tenants", "list")).out


@pytest.mark.parametrize(
    "command",
    [
        ("limits", "list"),
        ("limits", "remove", "--queue", "mail"),
        ("limits", "unblock", "k"),
        ("limits", "quota"),
        ("limits", "quota", "--off"),
        ("schedules", "pause", "pulse"),
        ("templates", "delete", "t"),
        ("retention", "list"),
    ],
    ids=" ".join,
)
async def test_what_is_asked_or_taken_away_makes_no_tenant(cli, command):
    """A wrong name is said."""
    answer = await cli(*command, "--tenant", "nobody")

    assert 1 == answer.code and "there is no tenant 'nobody'" in answer.err
