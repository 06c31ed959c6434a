"""`rest_latency`: one job and pages of jobs over HTTP at 50 requests a second, with many finished jobs behind them; ms.

The rows are made by `insert ... select` (history.sql) in five slices of history: four times the jobs of a drain, with `--large` 200
times (ten million). Every sort of question is asked in turn, as one stream; each page counts its `total`. The server is one process,
and it shares this host with PostgreSQL and with who asks.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import UUID

import asyncpg

from trunkline.measure.asking import Asker, Request
from trunkline.measure.processes import started
from trunkline.measure.result import Result, Target
from trunkline.measure.roles.producers import line_of
from trunkline.measure.roles.workers import KIND
from trunkline.measure.run import MeasureFailed, Run

FINISHED, FINISHED_LARGE = 4, 200  # times the jobs of a run: 200k and 10M at 50,000
RATE = 50.0  # requests a second
LONGEST_S = 30.0
STEP = 250_000  # rows of one transaction
PAGE = 20
INSTALL = files(__package__).joinpath("history.sql").read_text("utf-8")
SELDOM = "seldom"  # the kind of one job in ten thousand
BUSY = "busy"  # who made a hundredth of all jobs
USERS = [f"u{n}" for n in range(1, 40)]
IDS, SEED = 1000, 7
SOME = """select j.id from unnest($2::timestamptz[]) as t (at)
 cross join lateral (select b.id from trunkline.job as b where b.tenant_id = $1 and b.id >= trunkline.id_floor(t.at) order by b.id limit 1) as j"""


class Known(NamedTuple):
    """What questions are made of: ids, an administrator's token, users' tokens, and a query that goes on amid the history."""

    ids: list[UUID]
    admin: str
    users: dict[str, str]
    deep: str


async def measure(run: Run) -> list[Result]:
    """p95 of one job, and of everything else beside it."""
    finished = run.sizes.jobs * (FINISHED_LARGE if run.sizes.is_large else FINISHED)
    async with run.server.fresh() as url:
        await fill(run, url, finished)
        return [await asked(run, url, finished)]


async def fill(run: Run, url: str, finished: int) -> None:
    """Years of use, as the comment of history.sql says."""
    tenant_id, queue_id, kind_id, _ = await line_of(url)
    conn = await asyncpg.connect(url)
    try:
        await conn.execute(INSTALL)
        seldom = await conn.fetchval("insert into trunkline.kind (tenant_id, name) values ($1, $2) returning kind_id", tenant_id, SELDOM)
        await conn.execute("call bench_floor.slices_before()")
        for first in range(1, finished + 1, STEP):
            last = min(first + STEP - 1, finished)
            await conn.execute(
                "call bench_floor.fill_history($1, $2, $3, $4, $5, $6)", tenant_id, queue_id, [kind_id, seldom], first, last, finished
            )
            run.say("rows made", last, finished)
        await conn.execute("vacuum (analyze)")  # as autovacuum leaves tables that grew long ago
        await conn.execute("checkpoint")
    finally:
        await conn.close()


async def asked(run: Run, url: str, finished: int) -> Result:
    """The line, of a database that is filled."""
    async with started("api", url, run.sizes.deadline_s, users=[BUSY, *USERS]) as server:
        ready = await server.expect("ready")
        asker = Asker(ready["port"])
        try:
            known = await _known(url, asker, ready)
            questions = _questions(known)
            each = max(int(min(run.sizes.seconds, LONGEST_S) * RATE / len(questions)), 2)
            await asker.paced([next(made) for made in questions.values() for _ in range(2)], RATE)  # plans, and caches
            ms = await _timed(asker, questions, each)
        finally:
            await asker.close()
        server.tell("stop")
        await server.expect("done")
    found = {f"{name}_{label}": one[int(len(one) * share)] for name, one in ms.items() for label, share in (("p50", 0.5), ("p95", 0.95))}
    return Result(
        measure="rest_latency",
        value=found.pop("job_p95"),
        unit="ms, p95 of one job",
        n=each * len(ms),
        pairs=1,
        verified=True,
        targets=(Target("value", "<=", 10), *(Target(f"{name}_p95", "<=", 10) for name in ms if name != "job")),
        extra={"finished": finished, "per_s": RATE, **found},
    )


async def _timed(asker: Asker, questions: dict[str, Iterator[Request]], each: int) -> dict[str, list[float]]:
    """ms of `each` requests of every sort, in turn; sorted."""
    stream = [(name, next(made)) for _ in range(each) for name, made in questions.items()]
    ms = await asker.paced([request for _, request in stream], RATE)
    found: dict[str, list[float]] = {name: [] for name in questions}
    for (name, _), took in zip(stream, ms, strict=True):
        found[name].append(took)
    return {name: sorted(times) for name, times in found.items()}


async def _known(url: str, asker: Asker, ready: dict[str, Any]) -> Known:
    """Ids all over the history, and a cursor amid it."""
    now, chance = datetime.now(UTC), random.Random(SEED)  # noqa: S311 - which jobs are looked at
    conn = await asyncpg.connect(url)
    try:
        times = [now - timedelta(days=28 * chance.random()) for _ in range(IDS)]
        ids = [row[0] for row in await conn.fetch(SOME, (await line_of(url))[0], times)]
    finally:
        await conn.close()
    deep = f"limit={PAGE}&createdBefore={quote((now - timedelta(days=14)).isoformat())}"
    page = json.loads(await asker.get(Request(f"/api/jobs?{deep}", ready["admin"])))
    if len(page["data"]) != PAGE:
        raise MeasureFailed(f"a page of {PAGE} has {len(page['data'])} jobs.")
    return Known(ids, ready["admin"], ready["users"], f"{deep}&cursor={page['pagination']['nextCursor']}")


def _questions(known: Known) -> dict[str, Iterator[Request]]:
    """Every sort of question by its name in the line; each iterator is endless."""
    page, busy = f"/api/jobs?limit={PAGE}", known.users[BUSY]
    people = itertools.cycle(known.users[name] for name in USERS)
    same = {
        "page": Request(page, known.admin),
        "completed": Request(f"{page}&status=completed", known.admin),
        "failed": Request(f"{page}&status=failed", known.admin),
        "type": Request(f"{page}&type={KIND}", known.admin),
        "seldom_type": Request(f"{page}&type={SELDOM}", known.admin),
        "error": Request(f"{page}&error=is+full", known.admin),
        "unknown_error": Request(f"{page}&error=nobody+wrote+this", known.admin),
        "page_200": Request(f"{page}&page=200", known.admin),
        "deep": Request(f"/api/jobs?{known.deep}", known.admin),
        "busy_user": Request(page, busy),
        "busy_user_failed": Request(f"{page}&status=failed", busy),
    }
    return {
        "job": (Request(f"/api/jobs/{job_id}", known.admin) for job_id in itertools.cycle(known.ids)),
        "user": (Request(page, token) for token in people),
        "user_failed": (Request(f"{page}&status=failed", token) for token in people),
        **{name: itertools.repeat(request) for name, request in same.items()},
    }
