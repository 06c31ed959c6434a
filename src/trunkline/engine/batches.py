"""Jobs sent together and awaited together: `app.batches`.

Always true: `send` is all or nothing; a batch is done exactly when it is sealed and its last job has ended, and each of its
callbacks is put in once, in that transaction; a block that opened a batch and failed cancels it.
Called by: app, cli. Calls: store.batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self
from uuid import UUID

import msgspec
import structlog

from trunkline.engine import keeping
from trunkline.engine.patience import patiently
from trunkline.engine.producer import Enqueued
from trunkline.engine.reach import Reach
from trunkline.engine.together import Statement, put_in
from trunkline.errors import InvalidInput, NotFound, TrunklineError, WaitTimeout
from trunkline.model import BatchView, JobView, NewJob, as_uuid, new_job
from trunkline.model.family import in_batch, options_of
from trunkline.model.job import new_id
from trunkline.model.trace import traceparent
from trunkline.store import batches as store_batches
from trunkline.store import read

MOST = 10_000  # jobs of one send: one statement, some seconds of work at the most
CANCEL_SLICE = 2000
Given = NewJob | tuple[str, Any] | tuple[str, Any, dict[str, Any]]
log = structlog.get_logger("trunkline.batches")


class BatchSent(NamedTuple):
    """A batch that is there. `jobs`: in the order given; `created` is False for a duplicate, and `id` the job that stands for it."""

    id: UUID
    jobs: list[Enqueued]


class CancelledSome(NamedTuple):
    """How far the cancelling of a batch is; `after` None: all is done."""

    cancelled: int
    requested: int
    after: UUID | None


class FailedPage(NamedTuple):
    """Some failed jobs of a batch; `cursor` None: there are no more."""

    jobs: list[JobView]
    cursor: UUID | None


class Batches:
    """The batches of an application."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    async def send(
        self,
        jobs: Iterable[Given],
        *,
        on_success: NewJob | str | None = None,
        on_complete: NewJob | str | None = None,
        name: str | None = None,
        id: UUID | None = None,
        tenant: str | None = None,
        connection: Any = None,
    ) -> BatchSent:
        """Put up to 10,000 jobs in as one batch, all or none.

        Args:
            jobs: made with `new_job`, or (kind, payload) or (kind, payload, {options}).
            on_success: a job, or its kind, to come when all have completed; on_complete: when all have ended, however they did.
                Its handler finds the counts in `job.batch`. Its id is made when it is sent; it has no key, time or parent.
            name: for people, up to 200 characters.
            id: your own, UUIDv7; with it, and with ids of your own for the jobs, the same call may be repeated.
            connection: your own connection with a transaction open, as for `enqueue`.
        Raises:
            InvalidInput, InvalidPayload, BadId: names the job by its place, from 0; nothing was written.
        """
        calls = (callback("on_success", on_success), callback("on_complete", on_complete))
        batch_id = id or new_id()
        children = await checked(jobs, batch_id, self._reach, tenant)
        if len(children) > MOST:
            raise InvalidInput(f"{len(children):,} jobs in one batch: {MOST:,} is the most at once. Open the batch and add them in parts.")

        async def before(tenant_id: int) -> tuple[Any, ...]:
            return (batch_id, name, *await keeping.callbacks(self._reach, tenant_id, calls))

        tenant_id, sent = await put_in(
            self._reach,
            children,
            tenant,
            connection,
            Statement(store_batches.SEND, store_batches.SEND_TYPES, before),
            lambda store, tenant_id, what, ordered: store_batches.send(store, tenant_id, what[0], what[1], what[2], what[3], ordered),
        )
        await self._reach.noted(tenant_id, "batch.sent", f"batch:{batch_id}", jobs=len(sent), name=name)
        return BatchSent(batch_id, sent)

    def open(
        self,
        *,
        on_success: NewJob | str | None = None,
        on_complete: NewJob | str | None = None,
        name: str | None = None,
        tenant: str | None = None,
    ) -> OpenBatch:
        """A batch that is filled in parts: `async with app.batches.open(...) as batch: await batch.add(jobs)`.

        Jobs run as soon as they are added. Leaving the block seals the batch; an exception in it cancels the batch and what of
        it has not started. A process that dies in it leaves the batch open: `doctor` and `batches list` show it.
        """
        return OpenBatch(self._reach, self, name, callback("on_success", on_success), callback("on_complete", on_complete), tenant)

    async def get(self, batch_id: UUID | str, *, tenant: str | None = None) -> BatchView:
        """Where a batch stands; NotFound when this tenant has no such batch."""
        identity = as_uuid(batch_id, "batch")
        found = await store_batches.get(await self._reach.open(), await self._reach.known_tenant_id(tenant), identity)
        if found is None:
            raise NotFound(f"batch {identity}: this tenant has no such batch. A batch goes when its retention is over.")
        return found

    async def list(
        self, *, limit: int = 20, before: UUID | str | None = None, only_open: bool = False, tenant: str | None = None
    ) -> list[BatchView]:
        """Batches, newest first; `before`: older than this one; `only_open`: those that are not done."""
        earlier = None if before is None else as_uuid(before, "batch")
        tenant_id = await self._reach.known_tenant_id(tenant)
        return await store_batches.batches(await self._reach.open(), tenant_id, before=earlier, only_open=only_open, limit=limit)

    async def wait(self, batch_id: UUID | str, timeout: float | None = None, *, tenant: str | None = None) -> BatchView:
        """The batch, as soon as it is done.

        Raises:
            WaitTimeout: it was not within `timeout` seconds; says how far it is.
            NotFound: this tenant has no such batch.
        """
        batch = await self.get(batch_id, tenant=tenant)
        if not batch.is_done:
            try:
                await self._reach.ended(batch.tenant_id, batch.id, timeout)
            except TimeoutError:
                batch = await self.get(batch.id, tenant=tenant)
                if batch.is_done:
                    return batch
                raise WaitTimeout(
                    f"batch {batch.id} has {batch.remaining:,} of {batch.total:,} jobs left after {timeout:g} s. Wait again."
                ) from None
            batch = await self.get(batch.id, tenant=tenant)
        return batch

    async def seal(self, batch_id: UUID | str, *, tenant: str | None = None) -> None:
        """Say that no more jobs come: the batch is done when all it has have ended."""
        identity, tenant_id, store = as_uuid(batch_id, "batch"), await self._reach.known_tenant_id(tenant), await self._reach.open()
        await patiently(lambda: store_batches.seal(store, tenant_id, identity), self._reach.settings.command_timeout_s)
        await self._reach.noted(tenant_id, "batch.sealed", f"batch:{identity}")

    async def cancel(self, batch_id: UUID | str, *, reason: str = "its batch was cancelled", tenant: str | None = None) -> tuple[int, int]:
        """Cancel what is left: (jobs that had not started and are cancelled, running ones that were told and have 10 s).

        Nobody can join the batch any more. It may be said again: what ended stays as it is.
        """
        cancelled, requested, after = await self.begin_cancel(batch_id, reason=reason, tenant=tenant)
        return await self.go_on_cancelling(batch_id, CancelledSome(cancelled, requested, after), reason=reason, tenant=tenant)

    async def begin_cancel(
        self, batch_id: UUID | str, *, reason: str = "its batch was cancelled", tenant: str | None = None
    ) -> CancelledSome:
        """The first transaction of `cancel`: from now on nobody joins. What is left is for `go_on_cancelling`."""
        identity, tenant_id, store = as_uuid(batch_id, "batch"), await self._reach.known_tenant_id(tenant), await self._reach.open()
        after, cancelled, requested = await store_batches.cancel(store, tenant_id, identity, reason, None, CANCEL_SLICE)
        await self._reach.noted(tenant_id, "batch.cancelled", f"batch:{identity}", reason=reason)
        return CancelledSome(cancelled, requested, after)

    async def go_on_cancelling(
        self, batch_id: UUID | str, done: CancelledSome, *, reason: str = "its batch was cancelled", tenant: str | None = None
    ) -> tuple[int, int]:
        """The other transactions of `cancel`; the counts of all of them."""
        identity, tenant_id, store = as_uuid(batch_id, "batch"), await self._reach.known_tenant_id(tenant), await self._reach.open()
        cancelled, requested, after = done
        while after is not None:
            after, more, told = await store_batches.cancel(store, tenant_id, identity, reason, after, CANCEL_SLICE)
            cancelled, requested = cancelled + more, requested + told
        return cancelled, requested

    async def failed(
        self, batch_id: UUID | str, *, limit: int = 100, cursor: UUID | str | None = None, tenant: str | None = None
    ) -> FailedPage:
        """Jobs of a batch that ended failed, oldest first; the next page with the `cursor` of the last."""
        batch = await self.get(batch_id, tenant=tenant)
        after = None if cursor is None else as_uuid(cursor)
        found = await read.failed_in_batch(await self._reach.open(), batch.tenant_id, batch.id, after=after, limit=limit + 1)
        return FailedPage(found[:limit], found[limit - 1].id if len(found) > limit else None)


class OpenBatch:
    """A batch that is being filled; `id` is known from the start. Made by `Batches.open`."""

    def __init__(
        self, reach: Reach, batches: Batches, name: str | None, on_success: str | None, on_complete: str | None, tenant: str | None
    ) -> None:
        self.id = new_id()
        self._reach, self._batches, self._tenant = reach, batches, tenant
        self._what = (name, (on_success, on_complete))

    async def __aenter__(self) -> Self:
        store, tenant_id = await self._reach.open(), await self._reach.tenant_id(self._tenant)
        name, calls = self._what
        what = (name, *await keeping.callbacks(self._reach, tenant_id, calls))
        await patiently(lambda: store_batches.open_batch(store, tenant_id, self.id, *what), self._reach.settings.command_timeout_s)
        await self._reach.noted(tenant_id, "batch.opened", f"batch:{self.id}", name=name)
        return self

    async def add(self, jobs: Iterable[Given], *, connection: Any = None) -> Sequence[Enqueued]:
        """Add jobs, in their order; each thousand is a transaction of its own."""
        children = await checked(jobs, self.id, self._reach, self._tenant)
        return await self._reach.enqueue_many(children, tenant=self._tenant, connection=connection)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            await self._batches.seal(self.id, tenant=self._tenant)
            return
        try:
            await self._batches.cancel(
                self.id, reason=f"the block that filled its batch failed: {type(error).__name__}", tenant=self._tenant
            )
        except TrunklineError as failed:  # the block's own exception is the one to see
            log.warning("batch.left_open", batch_id=str(self.id), error=str(failed))


async def checked(jobs: Iterable[Given], batch_id: UUID, reach: Reach, tenant: str | None) -> list[NewJob]:
    """The jobs as children of the batch, by the settings of the application; an error names the place of the job."""
    children: list[NewJob] = []
    parent = traceparent() if reach.settings.trace_context else None
    for at, given in enumerate(jobs):
        try:
            if not isinstance(given, NewJob):
                kind, payload, options = (*given, {})[:3]
                if parent is not None:
                    options = {"traceparent": parent, **options}
                given = await reach.checked_job(kind, payload, tenant, options)
            children.append(in_batch(given, batch_id))
        except TrunklineError as error:
            raise type(error)(f"job {at} of the batch: {error}") from error
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"job {at} of the batch is {str(given)[:80]!r}: need new_job(...), or (kind, payload, options).") from error
    return children


def callback(what: str, given: NewJob | str | None) -> str | None:
    """What a callback is kept as, JSON text.

    Raises:
        InvalidInput: it has a key, a time, a batch or a parent.
    """
    if given is None:
        return None
    job = new_job(given) if isinstance(given, str) else given
    options = options_of(job)
    if job.run_at or job.idempotency_key or job.unique_key or options.keys() & {"batch_id", "depends_on"}:
        raise InvalidInput(f"{what} has run_at, a key, a batch or a parent: a callback is sent when the batch is done, and needs none.")
    kept = {
        "kind": job.kind,
        "queue": job.queue,
        "priority": job.priority,
        "payload": msgspec.Raw(job.payload.encode()),
        "user_id": job.user_id,
    }
    return msgspec.json.encode(kept | {"options": options or None}).decode()
