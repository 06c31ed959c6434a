"""`trunkline queues` and `trunkline dead-letters`."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Cli, ended
from tests.support.queue import Queue

UNKNOWN = "0197aaaa-0000-7000-8000-000000000000"


@pytest.mark.parametrize("command", [["queues"], ["queues", "list"]])
async def test_queues_are_listed_with_what_they_hold(cli: Cli, queue: Queue, command: list[str]):
    """In line, later, running, failed."""
    await ended(queue, "failed")
    await queue.put()
    await queue.claim_one()
    await queue.put_plain(2)
    await queue.put(delay=60)
    text, document = await cli(*command), await cli(*command, "--json")

    assert [{"name": "work", "pausedAt": None, "ready": 2, "deferred": 1, "active": 1, "failed": 1}] == document.json["queues"]
    assert ["work", "2", "1", "1", "1"] == text.out.splitlines()[1].split()


async def test_no_queue_yet_is_said_beside_the_answer(cli: Cli):
    """An empty list is empty."""
    answer = await cli("queues")

    assert (0, "") == (answer.code, answer.out) and "No queue yet" in answer.err


async def test_a_queue_is_paused_and_resumed(cli: Cli, queue: Queue):
    """Each once; a second time changes nothing and says so."""
    await queue.put()
    said = [(await cli("queues", verb, "work")).out for verb in ("pause", "pause")]
    while_paused, listed = await queue.claim(1), (await cli("queues")).out
    answer = (await cli("queues", "resume", "work", "--json")).json

    assert ["Queue 'work' is paused.\n", "Queue 'work' was paused already.\n"] == said
    assert [] == while_paused and "paused " in listed
    assert {"queue": "work", "paused": False, "changed": True} == answer
    assert 1 == len(await queue.claim(1))


@pytest.mark.parametrize("flags", [["--tenant", "acme"], ["--json"]])
async def test_an_option_in_front_of_the_command_is_not_lost(cli: Cli, queue: Queue, flags: list[str]):
    """It would act on another tenant's queue."""
    assert 2 == (await cli("queues", *flags, "pause", "work")).code
    assert (await cli("queues", "--json")).json["queues"][0]["pausedAt"] is None


async def test_a_misspelt_queue_is_not_made_by_pausing_it(cli: Cli, queue: Queue):
    """The right one is offered."""
    near, far = await cli("queues", "pause", "wrok"), await cli("queues", "pause", "zzz", "--json")

    assert (1, "error: there is no queue 'wrok'. Did you mean 'work'?\n") == (near.code, near.err)
    assert 1 == far.code and '"code":"not_found"' in far.err and "There are: work." in far.err
    assert 1 == await queue.count("queue")


async def test_dead_letters_are_listed_with_what_went_wrong(cli: Cli, queue: Queue):
    """Control characters made visible."""
    await queue.put()
    await queue.settle(await queue.claim_one(), "fatal", error='{"type": "ValueError", "message": "no\\u001b[2J"}')
    text, document = await cli("dead-letters", "list"), await cli("dead-letters", "list", "--kind", "work", "--queue", "work", "--json")

    assert r"ValueError: no\x1b[2J" in text.out
    assert ["failed"] == [job["state"] for job in document.json["deadLetters"]]
    assert [] == (await cli("dead-letters", "list", "--kind", "other", "--json")).json["deadLetters"]


async def test_no_dead_letters_is_good_news(cli: Cli):
    """In words, or as an empty list."""
    assert "No dead letters.\n" == (await cli("dead-letters", "list")).out
    assert {"deadLetters": []} == (await cli("dead-letters", "list", "--json")).json


@pytest.mark.parametrize(
    ("filters", "count"), [(["--kind", "work"], 3), (["--queue", "work"], 3), (["--all", "--limit", "2"], 2), (["--kind", "other"], 0)]
)
async def test_dead_letters_go_back_in_line_by_filter(cli: Cli, queue: Queue, filters: list[str], count: int):
    """Oldest first, at most so many."""
    for _ in range(3):
        await ended(queue, "failed")
    answer = await cli("dead-letters", "redrive", *filters, "--json")

    assert (0, {"redriven": count}) == (answer.code, answer.json)
    assert count == await queue.count("ready")


async def test_dead_letters_go_back_in_line_by_id(cli: Cli, queue: Queue):
    """Those that cannot are named, the others go."""
    failed, done = await ended(queue, "failed"), await ended(queue, "completed")
    mixed = await cli("dead-letters", "redrive", "--id", str(failed), "--id", str(done), "--id", UNKNOWN)
    await queue.end(failed, "failed")
    good = await cli("dead-letters", "redrive", "--id", str(failed))

    assert 1 == mixed.code and "1 job went back in line; not these" in mixed.err and f"{done}, {UNKNOWN}" in mixed.err
    assert (0, "1 job back in line.\n") == (good.code, good.out)


@pytest.mark.parametrize("flags", [[], ["--id", UNKNOWN, "--all"]])
async def test_redrive_wants_to_know_which(cli: Cli, flags: list[str]):
    """An empty filter would be everything."""
    assert 2 == (await cli("dead-letters", "redrive", *flags)).code
