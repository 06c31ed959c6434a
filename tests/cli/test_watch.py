"""Following a job: on a terminal, through a pipe, as JSON lines."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.cli.conftest import Cli, Start, job_view
from tests.cli.program import Program
from tests.support.queue import Queue
from tests.support.until import until
from trunkline import Trunkline
from trunkline.cli.watch import ending, follow, percentage, situation


async def test_lines_through_a_pipe(cli: Cli, start: Start, worker: Program, room: Path):
    """One for each change, the last one the ending."""
    gate = room / "gate"
    job_id = (await cli("enqueue", "gated", json.dumps({"gate": str(gate)}))).out.strip()
    watch = start("jobs", "watch", job_id)
    watch.until(" 40 %  at the gate\n")
    gate.touch()

    assert 0 == watch.end()
    assert watch.said.endswith("100 %  completed\n")


async def test_json_lines(cli: Cli, start: Start, worker: Program, room: Path):
    """Each can be read as soon as it is written."""
    gate = room / "gate"
    job_id = (await cli("enqueue", "gated", json.dumps({"gate": str(gate)}))).out.strip()
    watch = start("jobs", "watch", job_id, "--json")
    watch.until("at the gate")
    gate.touch()

    assert 0 == watch.end()
    *_, at_gate, last = [json.loads(line) for line in watch.said.splitlines()]
    assert ("progress", "active", {"percentage": 40, "message": "at the gate"}) == (at_gate["event"], at_gate["state"], at_gate["progress"])
    assert ("ended", job_id, "completed", {"through": True}) == (last["event"], last["id"], last["state"], last["result"])


async def test_a_bar_on_a_terminal(cli: Cli, start: Start, worker: Program, room: Path):
    """With percentage and message; it gives the cursor back."""
    gate = room / "gate"
    job_id = (await cli("enqueue", "gated", json.dumps({"gate": str(gate)}))).out.strip()
    watch = start("jobs", "watch", job_id, terminal=True)
    watch.until("at the gate")
    gate.touch()

    assert 0 == watch.end()
    assert "━" in watch.said and " 40 %" in watch.plain and "100 %" in watch.plain
    assert watch.said.count("\x1b[?25l") == watch.said.count("\x1b[?25h") == 1


async def test_a_job_that_waits_says_why_and_what_to_do(start: Start, queue: Queue, app: Trunkline):
    """Once for each reason, however long it waits: through a pipe, on a terminal, as JSON lines."""
    job_id = await queue.put()
    await app.pause("work")
    lines, bar, machine = (
        start("jobs", "watch", str(job_id), *more, terminal=on) for more, on in (((), False), ((), True), (("--json",), False))
    )
    for watch in (lines, bar, machine):
        watch.until("Its queue is paused since ")
        watch.until("trunkline queues resume work")
    await app.resume("work")
    for watch in (lines, bar, machine):
        watch.until("none runs: no connected worker seems to serve the queue 'work'")
    await queue.cancel(job_id)

    assert [1, 1, 1] == [watch.end() for watch in (lines, bar, machine)]
    assert 1 == lines.said.count("queued") == lines.said.count("paused") == bar.plain.count("Its queue is paused")
    first, paused, in_line, ended = [json.loads(line) for line in machine.said.splitlines()]
    assert "why" not in first and "why" not in ended
    assert paused["why"][0].startswith("Its queue is paused") and "0 jobs of its queue are ahead" in in_line["why"][0]


async def test_what_holds_a_job_back_is_told_at_once(queue: Queue, app: Trunkline):
    """A limit and the jobs it waits for need no second look."""
    told: list[tuple[str, str]] = []

    async def until_told(job_id: UUID, said: str) -> list[str]:
        told.clear()
        following = asyncio.create_task(follow(app, job_id, lambda job, why: told.append((job.state, " ".join(why)))))
        await until(lambda: told and said in told[-1][1], said)
        following.cancel()
        return [state for state, _ in told]

    await app.limits.set(key="shop", concurrency=1)
    first, second = [await queue.put(limit_key="shop") for _ in range(2)]
    await queue.claim(10)

    assert ["limited"] == await until_told(second, "It waits for the limit of key shop; 0 jobs wait before it. 1 of at most 1 run now.")
    assert ["waiting"] == await until_told(await queue.put(depends_on=[first]), "It waits until this job has ended")


async def test_no_color_means_no_colour(cli: Cli, start: Start, worker: Program):
    """https://no-color.org, on a terminal too."""
    await cli("enqueue", "fails", "--wait")
    listed = start("dead-letters", "list", terminal=True, NO_COLOR="1")

    assert 0 == listed.end()
    assert "Fail: it is" in listed.plain
    assert not any(f"\x1b[{code}m" in listed.said for code in ("31", "32", "33", "36", "1;31"))


async def test_ctrl_c_stops_watching_and_not_the_job(cli: Cli, start: Start, worker: Program, room: Path):
    """Exit code 130, no traceback."""
    gate = room / "gate"
    job_id = (await cli("enqueue", "gated", json.dumps({"gate": str(gate)}))).out.strip()
    watch = start("jobs", "watch", job_id)
    watch.until("at the gate")
    watch.signal(2)

    assert (130, "") == (watch.end(), watch.complained)
    assert "active" == (await cli("jobs", "show", job_id, "--json")).json["state"]
    gate.touch()
    assert 0 == (await cli("jobs", "watch", job_id)).code


@pytest.mark.parametrize(("kind", "code", "said"), [("greet", 0, ""), ("fails", 1, r"failed after 1 attempt: it is \x1b[31mbroken")])
async def test_a_job_that_has_ended_is_told_at_once(cli: Cli, worker: Program, kind: str, code: int, said: str):
    """Exit code 1 unless it completed, with the whole reason."""
    job_id = (await cli("enqueue", kind, "--wait", "--json")).json["id"]
    answer = await cli("jobs", "watch", job_id)

    assert code == answer.code and said in answer.err


async def test_watching_gives_up_when_told_to(cli: Cli, queue: Queue):
    """And an unknown job is refused at once."""
    job_id = await queue.put()
    late = await cli("jobs", "watch", str(job_id), "--timeout", "0.1", "--json")
    unknown = await cli("jobs", "watch", "0197aaaa-0000-7000-8000-000000000000")

    assert (1, "wait_timeout") == (late.code, json.loads(late.err)["code"])
    assert 1 == unknown.code and "this tenant has no such job" in unknown.err


@pytest.mark.parametrize(
    ("change", "percent", "said"),
    [
        ({"state": "active", "progress": {"percentage": 30, "message": "so\nfar"}}, 30, "so far"),
        ({"state": "active", "attempt": 3, "progress": None}, 0, "running (attempt 3)"),
        ({"state": "active", "progress": {"percentage": "lots"}}, 0, "running"),
        ({"state": "queued"}, 0, "queued"),
        ({"state": "completed"}, 100, "completed"),
        ({"state": "cancelled", "error": {"message": "enough"}}, 0, "cancelled: enough"),
        ({"state": "retrying", "run_at": None}, 0, "retrying, runs -"),
    ],
)
def test_a_situation_in_a_few_words(change: dict[str, Any], percent: float, said: str):
    """Whatever a handler put into its progress."""
    job = job_view(**change)

    assert (percent, said) == (percentage(job), situation(job))


def test_an_ending_in_a_sentence():
    """For what did not complete."""
    job = job_view()

    assert f"Job {job.id} was cancelled." == ending(replace(job, state="cancelled"))
    assert f"Job {job.id} failed after 2 attempts: no" == ending(replace(job, state="failed", attempt=2, error={"message": "no"}))
