"""Jobs that are put in by one statement, all or none, each with its place: what a batch and a flow have in common.

Called by: engine.batches, engine.flows. Calls: store.foreign.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from trunkline.engine.patience import patiently
from trunkline.engine.producer import Enqueued
from trunkline.engine.reach import Reach
from trunkline.model import NewJob
from trunkline.model.family import parents_first
from trunkline.store import Store, foreign, sessions
from trunkline.store import batches as store_batches
from trunkline.store.bound import Bound

Written = list[tuple[UUID, bool]]


class Statement(NamedTuple):
    """What is sent on somebody's connection: `before` are its arguments between the tenant and the jobs, given the tenant."""

    text: str
    types: tuple[str, ...]
    before: Callable[[int], Awaitable[tuple[Any, ...]]]


async def put_in(
    reach: Reach,
    jobs: Sequence[NewJob],
    tenant: str | None,
    connection: Any,
    statement: Statement,
    write: Callable[[Store, int, tuple[Any, ...], Sequence[NewJob]], Awaitable[Written]],
) -> tuple[int, list[Enqueued]]:
    """Put jobs in, parents before their children: the tenant's id, and an answer for each job in the order given.

    Args:
        connection: the caller's own with a transaction open; None: the transaction of `reach`, or else one of its own.
        write: the statement on a connection of ours: (store, tenant, what `before` answered, jobs).
    """
    order = parents_first(jobs)
    ordered: Sequence[NewJob] = [jobs[at] for at in order]
    store = await reach.open()
    if connection is None and isinstance(store, Bound):
        await reach.tenant_id(tenant)  # made outside: asked for again while the transaction made it, it would wait for itself
        connection = store.conn
    if connection is not None:
        wanted = tenant or reach.settings.tenant
        ((tenant_id,),) = await foreign.rows(connection, store.sql(sessions.TENANT_ID), (wanted,), ("text",))
        ordered = [*await reach.sealing.asked(store, tenant_id, ordered)]
        arguments = (tenant_id, *await statement.before(tenant_id), *(list(column) for column in store_batches.columns(ordered)))
        rows = await foreign.rows(connection, store.sql(statement.text), arguments, statement.types)
        done = [(UUID(str(row[0])), bool(row[1])) for row in rows]
        store.counts.some_enqueued(tenant_id, ordered, [is_new for _, is_new in done])
    else:
        tenant_id = await reach.tenant_id(tenant)
        timeout_s, before = reach.settings.command_timeout_s, await statement.before(tenant_id)
        done = await reach.sealing.sending(
            store, tenant_id, ordered, lambda jobs: patiently(lambda: write(store, tenant_id, before, jobs), timeout_s)
        )
    answers = dict(zip(order, done, strict=True))
    return tenant_id, [Enqueued(*answers[at]) for at in range(len(jobs))]
