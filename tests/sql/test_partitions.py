"""History in slices of time: made ahead, dropped when nobody needs them, never with a live job in them."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

DAY_S = 86400.0
PARENTS = ("job", "outcome", "attempt")


async def slices(queue) -> list[str]:
    """Names of the slices of `job`, oldest first."""
    rows = await queue.store.fetch(
        "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'trunkline.job'::regclass order by 1"
    )
    return [row["name"] for row in rows]


async def bounds(queue, parent: str) -> list[tuple[datetime, datetime]]:
    """From and to of every slice of a table, oldest first."""
    rows = await queue.store.fetch(
        """select trunkline.id_time(b.bound[1]::uuid) as low, trunkline.id_time(b.bound[2]::uuid) as high
             from pg_inherits as i join pg_class as c on c.oid = i.inhrelid
            cross join lateral (select regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \\(''([0-9a-f-]+)''\\) TO \\(''([0-9a-f-]+)''\\)') as bound) as b
            where i.inhparent = ('trunkline.' || $1)::regclass order by 1""",
        parent,
    )
    return [(row["low"], row["high"]) for row in rows]


async def old_job(queue, *, days: int = 40, into: str = "outcome") -> UUID:
    """A job of long ago, in a slice of its own, as its life would have left it."""
    store = queue.store
    id_ = await store.fetchval("select trunkline.id_floor(date_trunc('day', clock_timestamp()) - make_interval(days => $1))", days)
    id_ = UUID(int=id_.int | 7 << 76 | 2 << 62 | uuid4().int & (1 << 60) - 1)
    at = datetime.fromtimestamp((id_.int >> 80) / 1000).astimezone()
    for parent in PARENTS:
        name = f"{parent}_p{at:%Y%m%d}"
        if await store.fetchval("select to_regclass('trunkline.' || $1) is null", name):
            await store.fetch(
                f"create table trunkline.{name} partition of trunkline.{parent}"
                f" for values from ('{await floor(queue, at)}') to ('{await floor(queue, at + timedelta(days=7))}')"
            )
    await store.fetch(
        """insert into trunkline.job (tenant_id, id, created_at, queue_id, kind_id, payload)
           select $1, $2, $3, $4, kind_id, '{}' from trunkline.kind where tenant_id = $1 and name = 'work'""",
        queue.tenant_id, id_, at, queue.queue_id,
    )  # fmt: skip
    if into == "ready":
        await store.fetch("insert into trunkline.ready values ($1, 1, $2, $3, 0, 0, 0, 0)", queue.tenant_id, id_, queue.queue_id)
    elif into == "deferred":
        await store.fetch(
            "insert into trunkline.deferred values ($1, $2, clock_timestamp() + interval '1 day', $3, 0, 0, 0, 0, 'scheduled')",
            queue.tenant_id, id_, queue.queue_id,
        )  # fmt: skip
    elif into == "lease":
        await store.fetch("insert into trunkline.ready values ($1, 1, $2, $3, 0, 0, 0, 0)", queue.tenant_id, id_, queue.queue_id)
        await queue.claim_one()
    else:
        finished = "clock_timestamp()" if into == "late" else "$3::timestamptz"
        await store.fetch(
            f"""insert into trunkline.outcome (tenant_id, job_id, finished_at, attempt, state, detail)
                select $1, $2, {finished}, 1, 2, '{{}}' where $3::timestamptz is not null""",
            queue.tenant_id, id_, at + timedelta(hours=1),
        )  # fmt: skip
    return id_


async def floor(queue, at: datetime) -> UUID:
    """The smallest id of a moment."""
    return await queue.store.fetchval("select trunkline.id_floor($1)", at)


async def keep_history(queue, *, retention_s: float = 30 * DAY_S, days: int = 7) -> tuple[int, int]:
    """The hourly round: (made, dropped)."""
    row = await queue.store.fetchrow("select made, dropped from trunkline.keep_history($1, $2, $3)", queue.session_id, retention_s, days)
    return (row["made"], row["dropped"])


async def test_slices_are_made_ahead_of_time(queue):
    """No job may ever find no slice: ids reach from a day ago to a day ahead, and the duty may be late."""
    now = await queue.store.fetchval("select clock_timestamp()")
    for parent in PARENTS:
        found = await bounds(queue, parent)

        assert found[0][0] <= now - timedelta(days=1)
        assert found[-1][1] >= now + timedelta(days=14)
        assert [high for _, high in found[:-1]] == [low for low, _ in found[1:]]


async def test_a_second_round_makes_nothing(queue):
    """The duty may run as often as it likes."""
    assert 0 == await queue.store.fetchval("select trunkline.make_partitions()")


@pytest.mark.parametrize("days", [1, 3, 31])
async def test_a_changed_width_goes_on_where_the_last_slice_ends(queue, days):
    """No overlap and no hole, whatever the new width."""
    await queue.store.fetchval("select trunkline.make_partitions($1, 30 / $1 + 3)", days)
    found = await bounds(queue, "job")

    assert [high for _, high in found[:-1]] == [low for low, _ in found[1:]]
    assert timedelta(days=days) == found[-1][1] - found[-1][0]
    assert found == await bounds(queue, "outcome") == await bounds(queue, "attempt")


async def test_a_slice_past_retention_is_dropped_with_all_that_was_kept_of_its_jobs(queue):
    """Body, outcome, attempts, log, checkpoint and keys go together."""
    id_ = await old_job(queue)
    await queue.store.fetch("insert into trunkline.checkpoint values ($1, $2, 1, now(), '1')", queue.tenant_id, id_)
    await queue.store.fetch(
        "insert into trunkline.job_log (tenant_id, job_id, attempt, logged_at, level, message) values ($1, $2, 1, now(), 'info', 'x')",
        queue.tenant_id, id_,
    )  # fmt: skip
    await queue.store.fetch("insert into trunkline.idempotency values ($1, 1, 'k', $2, null)", queue.tenant_id, id_)
    before = await slices(queue)
    done = await keep_history(queue)

    assert (0, 1) == done
    assert before[1:] == await slices(queue)
    assert [0, 0, 0, 0] == [await queue.count(table) for table in ("job", "checkpoint", "job_log", "idempotency")]


async def test_a_slice_within_retention_stays(queue):
    """Forty days old, kept for sixty."""
    await old_job(queue)

    assert (0, 0) == await keep_history(queue, retention_s=60 * DAY_S)


@pytest.mark.parametrize("into", ["ready", "deferred", "lease", "late"])
async def test_a_slice_with_a_live_job_or_a_late_finish_stays(queue, into):
    """An accepted job is never lost, and a finished one is kept for its time."""
    id_ = await old_job(queue, into=into)

    assert (0, 0) == await keep_history(queue)
    assert id_ == (await queue.view(id_)).id


async def test_a_job_retried_by_hand_while_its_slice_is_being_dropped_keeps_its_body(queue, sessions):
    """The drop locks first and looks again."""
    id_ = await old_job(queue)
    retrying, dropping = await sessions.connect(), await sessions.connect()
    transaction = retrying.transaction()
    await transaction.start()
    await retrying.fetch("select trunkline.retry($1, $2)", queue.tenant_id, [id_])
    drop = sessions.start(dropping.fetchrow("select * from trunkline.keep_history($1, 2592000, 7)", queue.session_id))
    await sessions.blocked(dropping)
    await transaction.commit()

    assert 0 == (await drop)["dropped"]
    assert id_ == (await queue.claim_one()).job_id


async def test_a_drop_gives_up_when_somebody_reads_for_long(queue, sessions):
    """Waiting for its lock it would hold up everybody who comes after."""
    await old_job(queue)
    reader = await sessions.connect()
    transaction = reader.transaction()
    await transaction.start()
    await reader.fetch("select * from trunkline.job")
    done = await keep_history(queue)
    await transaction.rollback()

    assert (0, 0) == done


async def test_keys_whose_window_is_over_are_swept(queue, clock):
    """Those that last as long as their job stay."""
    await queue.put(idempotency_key="short", idempotency_window=60)
    await queue.put(idempotency_key="long")
    await queue.put(unique_key="slot", unique_for=60)
    await clock.forward(7200)
    await keep_history(queue)

    assert ["long"] == [row["key"] for row in await queue.store.fetch("select key from trunkline.idempotency")]
    assert [] == await queue.keys()


async def test_one_process_an_hour_does_the_round(queue, clock):
    """Everybody offers to."""
    await keep_history(queue)
    again = await queue.store.fetchrow("select * from trunkline.keep_history($1, 2592000, 7)", queue.session_id)
    await clock.forward(3601)
    later = await queue.store.fetchrow("select * from trunkline.keep_history($1, 2592000, 7)", queue.session_id)

    assert None is again
    assert (0, 0, 0, 0) == tuple(later)
