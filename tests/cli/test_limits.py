"""`trunkline limits`, and what `jobs show` says of a job that waits for one."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Cli
from tests.support.queue import Queue
from trunkline.cli.limits import Rate, rate_of


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10", (10, 1)), ("10/s", (10, 1)), ("30/m", (30, 60)), ("0.5/h", (0.5, 3600)), ("1/90s", (1, 90)), ("3/2m", (3, 120))],
)
def test_a_rate_is_read_as_people_write_it(text: str, rate: tuple[float, float]):
    """So many in so long."""
    assert Rate(*rate) == rate_of(text)


@pytest.mark.parametrize("wrong", [["--rate", "often"], ["--concurrency", "0"], ["--key", "a", "--queue", "b"], []])
async def test_a_limit_that_is_not_understood_is_wrong_usage(cli: Cli, queue: Queue, wrong: list[str]):
    """Nothing is set."""
    assert 2 == (await cli("limits", "set", *wrong)).code


async def test_limits_are_set_listed_and_removed(cli: Cli, queue: Queue):
    """With their bounds, who runs and who waits."""
    set_one = await cli("limits", "set", "--key", "customer-9", "--concurrency", "2", "--rate", "30/m", "--burst", "5")
    for _ in range(4):
        await queue.put(limit_key="customer-9")
    await queue.claim(10)
    listed, document = await cli("limits", "list"), (await cli("limits", "list", "--json")).json["limits"][0]
    removed = [(await cli("limits", "remove", "--key", "customer-9")).out for _ in range(2)]

    assert "The limit of key 'customer-9' is set.\n" == set_one.out
    assert "key customer-9" in listed.out and "2 at once, 30 a minute and 5 more at once" in listed.out
    assert (2, 0.5, 5, 2, 2) == tuple(document[name] for name in ("concurrency", "rate", "burst", "running", "waiting"))
    assert ["The limit of key 'customer-9' is removed.\n", "Nobody had set a limit of key 'customer-9'.\n"] == removed


async def test_no_limit_yet_is_said_beside_the_answer(cli: Cli):
    """An empty list is empty."""
    answer = await cli("limits", "list")

    assert (0, "") == (answer.code, answer.out) and "No limit is set" in answer.err


@pytest.mark.parametrize(
    ("flags", "name"), [(["--kind", "work"], "Kind 'work'"), (["--key", "k"], "Key 'k'"), (["--everything"], "The tenant")]
)
async def test_kinds_keys_and_the_tenant_are_paused_and_resumed(cli: Cli, queue: Queue, flags: list[str], name: str):
    """Twice changes nothing and says so."""
    job_id = await queue.put(limit_key="k")
    said = [(await cli("limits", "pause", *flags)).out for _ in range(2)]
    while_paused = await queue.claim(10)
    why = (await cli("jobs", "show", str(job_id))).out
    resumed = (await cli("limits", "resume", *flags, "--json")).json

    assert [f"{name} is paused.\n", f"{name} was paused already.\n"] == said
    assert [] == while_paused and " paused" in why and "trunkline limits resume" in why
    assert (False, True) == (resumed["paused"], resumed["changed"])
    assert " ".join(["trunkline limits resume", *flags]) in why
    assert 1 == len(await queue.claim(10))


async def test_a_paused_tenant_is_said_where_limits_are_listed(cli: Cli, queue: Queue):
    """It is no limit, and yet nothing starts."""
    await cli("limits", "pause", "--everything")
    listed, document = await cli("limits", "list"), (await cli("limits", "list", "--json")).json
    await cli("limits", "resume", "--everything")

    assert "The tenant is paused" in listed.out and "trunkline limits resume --everything" in listed.out
    assert document["tenantPaused"] is True
    assert "paused" not in (await cli("limits", "list")).out


async def test_a_limit_without_bounds_says_what_was_not_given(cli: Cli, queue: Queue):
    """Not an empty place in a sentence."""
    assert "concurrency is not given, rate not given, burst 3" in (await cli("limits", "set", "--key", "a", "--burst", "3")).err


async def test_a_key_is_blocked_and_opened(cli: Cli, queue: Queue):
    """For as long as the provider said."""
    job_id = await queue.put(limit_key="k")
    said = (await cli("limits", "block", "k", "5m")).out
    while_blocked = await queue.claim(10)
    why = (await cli("jobs", "show", str(job_id))).out
    await cli("limits", "unblock", "k")

    assert "Nothing with the key 'k' starts for 5 min.\n" == said
    assert [] == while_blocked and "The limit of key k lets it start" in why
    assert 1 == len(await queue.claim(10))


async def test_a_limited_job_says_what_it_waits_for(cli: Cli, queue: Queue):
    """Its limiter, how full it is, who is before it; an ordering key also says for which job."""
    await cli("limits", "set", "--key", "k", "--concurrency", "1")
    waiting = [await queue.put(limit_key="k") for _ in range(3)][-1]
    first, second = [await queue.put(ordering_key="order-17") for _ in range(2)]
    held = {claimed.job_id: claimed for claimed in await queue.claim(10)}
    full, behind = (await cli("jobs", "show", str(waiting), "--json")).json, (await cli("jobs", "show", str(second), "--json")).json
    await queue.settle(held[first], "fatal")
    failed = (await cli("jobs", "show", str(second), "--json")).json["why"][0]
    listed = (await cli("jobs", "list", "--state", "limited", "--json")).json["jobs"]

    assert "It waits for the limit of key k; 1 job waits before it. 1 of at most 1 run now." == full["why"][0]
    assert f"it waits for job {first}, which is active" in behind["why"][0]
    assert f"trunkline limits skip {first}" in failed
    assert 3 == len(listed)
    assert "Those behind it go on.\n" == (await cli("limits", "skip", str(first))).out
    assert [second] == [claimed.job_id for claimed in await queue.claim(10)]


async def test_a_quota_is_set_shown_and_taken_away(cli: Cli, queue: Queue):
    """And refuses a command that would pass it."""
    said = [
        (await cli("limits", "quota", *flags)).out for flags in ([], ["--queued", "1", "--rate", "100/m", "--burst", "9"], [], ["--off"])
    ]
    await cli("limits", "quota", "--queued", "0")
    refused = await cli("enqueue", "work", "--json")

    assert "No quota.\n" == said[0] == said[3]
    assert "At most 1 jobs queued and 1.67 a second and 9 more at once.\n" == said[1] == said[2]
    assert 1 == refused.code and '"code":"quota_exceeded"' in refused.err
