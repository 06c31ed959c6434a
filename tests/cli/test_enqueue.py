"""`trunkline enqueue`."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.cli.conftest import Cli, Offline
from tests.cli.program import Program
from tests.support.queue import Queue


async def test_the_id_is_all_that_is_printed(cli: Cli, queue: Queue):
    """So that a shell can keep it."""
    answer = await cli("enqueue", "work", '{"n": 1}')
    job = await queue.view(UUID(answer.out.strip()))

    assert (0, "") == (answer.code, answer.err)
    assert ("work", "work", {"n": 1}, "queued", 0) == (job.kind, job.queue, job.payload, job.state, job.priority)


async def test_every_option_reaches_the_job(cli: Cli, queue: Queue):
    """Those with a flag of their own and the rest."""
    flags = [
        "--queue",
        "line",
        "--priority",
        "7",
        "--unique-key",
        "u",
        "--idempotency-key",
        "i",
        "--option",
        "retry_limit=9",
        "--option",
        "user_id=me",
    ]
    answer = await cli("enqueue", "work", "--delay", "2h", "--json", *flags)
    job = await queue.view(UUID(answer.json["id"]))

    assert answer.json["created"]
    assert ("line", "scheduled", 7, "me") == (job.queue, job.state, job.priority, job.user_id)
    assert (9, "u") == (job.options["retry_limit"], job.options["unique_key"])


async def test_the_payload_may_come_from_standard_input(cli: Cli, queue: Queue):
    """For what is too long for a command line."""
    answer = await cli("enqueue", "work", "-", input='{"n": 2}\n')

    assert {"n": 2} == (await queue.view(UUID(answer.out.strip()))).payload


async def test_a_held_key_answers_with_its_holder(cli: Cli, queue: Queue):
    """The same id, and a hint beside it."""
    first = await cli("enqueue", "work", "--idempotency-key", "a")
    second = await cli("enqueue", "work", "--idempotency-key", "a")
    third = await cli("enqueue", "work", "--idempotency-key", "a", "--json")

    assert first.out == second.out
    assert second.err.startswith("Not new: ")
    assert {"id": first.out.strip(), "created": False} == third.json


async def test_a_kind_nobody_declared_is_pointed_out(cli: Cli, queue: Queue):
    """Most often it is a slip of the finger."""
    near, far = await cli("enqueue", "wrok"), await cli("enqueue", "quite-another")

    assert (0, "No worker has declared the kind 'wrok' yet: did you mean 'work'?\n") == (near.code, near.err)
    assert "No worker has declared the kind 'quite-another' yet; the job waits for one.\n" == far.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["work", "{n: 1}"], "is not JSON"),
        (["work", "--priority", "101"], "--priority"),
        (["work", "--delay", "soon"], "need seconds"),
        (["work", "--run-at", "2027-01-01T09:00"], "no time zone"),
        (["work", "--run-at", "2027-01-01T09:00Z", "--delay", "5"], "need one of them"),
        (["work", "--option", "retry_limit"], "need name=value"),
        ([], "KIND"),
    ],
)
def test_wrong_usage_is_told_before_anything_happens(offline: Offline, arguments: list[str], said: str):
    """Exit code 2, nothing on standard output."""
    answer = offline("enqueue", *arguments)

    assert (2, "") == (answer.code, answer.out)
    assert said in answer.sentence


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a/b"], "kind name 'a/b'"),
        (["work", "--option", "retry_limit=5000"], "retry_limit is 5000"),
        (["work", "--option", "colour=red"], "option colour"),
        (["work", '"\\u0000"'], "PostgreSQL"),
    ],
)
def test_a_job_that_cannot_be_is_refused_without_a_database(offline: Offline, arguments: list[str], said: str):
    """Exit code 1 and the sentence of whoever refuses it."""
    answer = offline("enqueue", *arguments)

    assert (1, "") == (answer.code, answer.out)
    assert answer.err.startswith("error: ") and said in answer.err


async def test_another_tenant_is_made_on_first_use(cli: Cli):
    """As the Python API does."""
    answer = await cli("enqueue", "work", "--tenant", "acme")

    assert [answer.out.strip()] == [job["id"] for job in (await cli("jobs", "list", "--tenant", "acme", "--json")).json["jobs"]]
    assert [] == (await cli("jobs", "list", "--json")).json["jobs"]


async def test_wait_prints_the_result(cli: Cli, worker: Program):
    """And only that: progress goes to standard error."""
    answer = await cli("enqueue", "greet", '{"name": "Ada"}', "--wait")
    document = await cli("enqueue", "greet", "--wait", "--json")

    assert (0, {"hello": "Ada"}) == (answer.code, answer.json)
    assert "100 %  completed" in answer.err
    assert (0, "completed", {"hello": "you"}, "") == (document.code, document.json["state"], document.json["result"], document.err)


async def test_wait_for_a_job_that_fails_is_exit_code_1(cli: Cli, worker: Program):
    """With the reason, its control characters made visible."""
    answer = await cli("enqueue", "fails", "--wait")
    document = await cli("enqueue", "fails", "--wait", "--json")

    assert (1, "") == (answer.code, answer.out)
    assert r"failed after 1 attempt: it is \x1b[31mbroken" in answer.err and "\x1b" not in answer.err
    assert (1, "failed", "Fail") == (document.code, document.json["state"], document.json["error"]["type"])


async def test_wait_gives_up_when_told_to(cli: Cli, queue: Queue):
    """The job goes on; the sentence says how to look at it."""
    answer = await cli("enqueue", "work", "--wait", "--timeout", "0.1")

    assert 1 == answer.code and "is still queued after 0.1 s" in answer.err
