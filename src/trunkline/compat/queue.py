"""`CompatQueue`: add a job, take the next one, say how it ended, as a polling worker does it.

The words are translated here and nowhere else: PENDING is everything that is not running yet (also a retry that waits), PROCESSING is
active, DEAD_LETTER is failed for good; CANCELLED is the one status more. A type is a kind with `_` for `-`; priority 0..10 is 0..100.
Always true: a job that was taken is leased to this process by the same claim and fence as a worker's: when the process dies it is
offered again within ten seconds, and what it reports afterwards is refused (`LeaseLost`). A failed job waits 2, 4, 8, ... seconds and
is DEAD_LETTER after `max_attempts`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from trunkline.app import Trunkline
from trunkline.engine.faults import fault
from trunkline.engine.heart import Heart
from trunkline.engine.vault import is_sealed, no_key
from trunkline.errors import InvalidInput, LeaseLost, NotReadable, TrunklineError
from trunkline.model import Claimed, JobView, as_uuid, kind_name
from trunkline.model.payload import decode, encode
from trunkline.store import Store, read, sessions, work
from trunkline.store.front import front

Status = Literal["PENDING", "PROCESSING", "COMPLETED", "DEAD_LETTER", "CANCELLED"]
STATUSES: dict[str, Status] = {"active": "PROCESSING", "completed": "COMPLETED", "failed": "DEAD_LETTER", "cancelled": "CANCELLED"}
RETRY_DELAY_S, PRIORITY = 2.0, 10  # a priority of theirs is ten of ours
LONGEST_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class CompatJob:
    """A job in their words.

    Attributes:
        attempts: started so far. last_error: of the newest failure that is known.
    """

    id: UUID
    type: str
    payload: Any
    status: Status
    priority: int
    attempts: int
    result: Any = None
    last_error: str | None = None
    scheduled_for: datetime | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None


class _Held:
    """A job that this process took."""

    __slots__ = ("attempt", "kind", "sealed")

    def __init__(self, attempt: int, kind: str, sealed: bool) -> None:
        self.attempt, self.kind, self.sealed = attempt, kind, sealed


class CompatQueue:
    """The queue of one tenant in one process. Make it with `QueueFactory.get_queue()`."""

    def __init__(self, app: Trunkline, *, tenant: str | None = None, owns_app: bool = False) -> None:
        self.app = app
        self._tenant, self._owns_app = tenant, owns_app
        self._held: dict[UUID, _Held] = {}
        self._heart: Heart | None = None
        self._beating: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._is_unsure = False  # a claim's answer was lost: the database may hold leases for us that nobody here knows

    async def add_job(
        self,
        type: str,
        payload: Any = None,
        *,
        priority: int = 0,
        idempotency_key: str | None = None,
        max_attempts: int = 3,
        scheduled_for: datetime | None = None,
    ) -> CompatJob | None:
        """Put a job in; None where one of this type and key is there already.

        Args:
            priority: 0..10, higher is more urgent. max_attempts: 1..1001. scheduled_for: an aware time.
        Raises:
            InvalidInput, InvalidPayload: name the value and what is accepted.
        """
        if priority.__class__ is not int or not 0 <= priority <= 10:
            raise InvalidInput(f"priority is {priority!r}: need an integer from 0 to 10, higher first.")
        if max_attempts.__class__ is not int or max_attempts < 1:
            raise InvalidInput(f"max_attempts is {max_attempts!r}: need an integer of 1 or more.")
        policy: dict[str, Any] = {"retry_limit": max_attempts - 1, "retry_delay": RETRY_DELAY_S, "retry_backoff": True}
        made = await self.app.enqueue_checked(
            type,
            payload,
            tenant=self._tenant,
            priority=priority * PRIORITY,
            idempotency_key=idempotency_key,
            run_at=scheduled_for,
            **policy,
        )
        if not made.created:
            return None
        return CompatJob(made.id, _type(kind_name(type)), payload, "PENDING", priority, 0, scheduled_for=scheduled_for)

    async def get_next_job(self, types: Sequence[str] | None = None, *, timeout: float = 0) -> CompatJob | None:
        """Take the most urgent job that is due, or None.

        Args:
            types: only these; None: every type of the tenant, also those that a worker of yours handles.
            timeout: seconds to wait for one.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        while (job := await self._take(types)) is None:
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                return None
            await asyncio.sleep(min(LONGEST_PAUSE_S, left_s))
        return job

    async def complete_job(self, job_id: UUID | str, result: Any = None) -> None:
        """Say that a job of this process is done. LeaseLost: it was taken from us meanwhile; drop the result."""
        identity, held = self._mine(job_id)
        store, tenant_id = await self._open()
        text = None if result is None else encode(result, what="result", max_bytes=self.app.settings.result_max_bytes)
        if text is not None and held.sealed:
            vault = self.app.privacy.vault
            if vault is None:
                raise no_key("result", held.kind)
            text = vault.seal(tenant_id, held.kind, identity, "result", text)
        lost = await work.ack_completed(store, tenant_id, [identity], [held.attempt], [text])
        self._held.pop(identity, None)
        if lost:
            raise _lost(identity, held.attempt)

    async def fail_job(self, job_id: UUID | str, error: str | BaseException) -> Status:
        """Say that it failed: PENDING where it is tried again, DEAD_LETTER where that was the last attempt. LeaseLost as above."""
        identity, held = self._mine(job_id)
        name = type(error).__name__ if isinstance(error, BaseException) else "Error"
        settled = await self._settle(identity, held, "failed", fault(name, str(error)))
        return "DEAD_LETTER" if settled.next == "failed" else "PENDING"

    async def get_job(self, job_id: UUID | str) -> CompatJob:
        """Where a job stands. NotFound: there is none."""
        found = self.app.privacy.reveal(await self.app.get(job_id, tenant=self._tenant))
        if found.error is None and found.failures:  # it goes on: what failed stands with its attempts
            store, tenant_id = await self._open()
            errors = [one["error"] for one in await read.attempts(store, tenant_id, found.id) if one["error"]]
            found = replace(found, error=errors[-1] if errors else None)
        return _view(found)

    async def retry_job(self, job_id: UUID | str) -> None:
        """Give a DEAD_LETTER job its attempts back. NotRetryable: it is none."""
        await self.app.retry(job_id, tenant=self._tenant)

    async def close(self) -> None:
        """Hand back what was taken and not finished; nobody's attempt is counted for it."""
        heart, beating = self._heart, self._beating
        if heart is not None and beating is not None:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            await heart.stop()
            self._heart = self._beating = None
            self._held.clear()
        if self._owns_app:
            await self.app.close()

    # -- what the heart asks and says ------------------------------------------------

    def lines(self) -> tuple[Sequence[int], int]:
        """Nobody is to be woken: the next poll looks."""
        return (), 0

    def has_work(self, queue_ids: Sequence[int]) -> None:
        """Nothing to do."""

    def cancel_requested(self, leases: Sequence[tuple[int, UUID, int]]) -> None:
        """A polling worker is not told; its report comes too late, and says so."""

    def session_over(self) -> None:
        """Every lease may be somebody else's: forget them."""
        self._held.clear()

    def clock_went_back(self) -> None:
        """Nothing to do: each claim looks from the front."""

    # -- inside --------------------------------------------------------------------------

    async def _take(self, types: Sequence[str] | None) -> CompatJob | None:
        store, tenant_id = await self._open()
        heart = await self._alive(store)
        if not heart.trusted:
            return None
        if self._is_unsure:
            await self._hand_back_strays(store, heart)
        for queue_id, _ in await front(store, tenant_id, None if types is None else [kind_name(one) for one in types]):
            try:
                claimed = await work.claim(store, tenant_id, queue_id, heart.session_id, limit=1, floor=0, marks={})
            except TrunklineError:
                self._is_unsure = True
                raise
            if claimed and (job := await self._taken(store, tenant_id, claimed[0])) is not None:
                return job
        return None

    async def _taken(self, store: Store, tenant_id: int, row: Claimed) -> CompatJob | None:
        kind = (await work.kind_names(store, [row.kind_id]))[row.kind_id]
        held = self._held[row.job_id] = _Held(row.attempt, kind, is_sealed(row.payload))
        text = row.payload
        if held.sealed:
            try:
                text = self._opened(tenant_id, row, kind)
            except NotReadable as error:
                await self._settle(row.job_id, held, "fatal" if error.for_good else "failed", fault("NotReadable", str(error)))
                return None
        return CompatJob(row.job_id, _type(kind), decode(text), "PROCESSING", row.priority // PRIORITY, row.attempt)

    def _opened(self, tenant_id: int, row: Claimed, kind: str) -> str:
        vault = self.app.privacy.vault
        if vault is None:
            raise no_key("payload", kind)
        copied_from = decode(row.options).get("dead_letter_of") if row.options else None
        return vault.open(tenant_id, kind, [row.job_id, *([as_uuid(copied_from)] if copied_from else [])], "payload", row.payload)

    async def _settle(self, identity: UUID, held: _Held, ending: str, error: str | None) -> work.Settled:
        store, tenant_id = await self._open()
        settled = await work.settle(store, tenant_id, [identity], [held.attempt], [ending], [error], [None])
        self._held.pop(identity, None)
        if not settled:
            raise _lost(identity, held.attempt)
        return settled[0]

    async def _hand_back_strays(self, store: Store, heart: Heart) -> None:
        for tenant_id, job_id, attempt in await sessions.leases(store, heart.session_id):
            if job_id not in self._held:
                await work.settle(store, tenant_id, [job_id], [attempt], ["released"], [None], [None])
        self._is_unsure = False

    async def _open(self) -> tuple[Store, int]:
        return await self.app.open(), await self.app.tenant_id(self._tenant)

    async def _alive(self, store: Store) -> Heart:
        async with self._starting:
            if self._heart is None:
                heart = Heart(store)
                heart.listen(self)
                await heart.start()
                self._heart, self._beating = heart, asyncio.create_task(heart.run())
            return self._heart

    def _mine(self, job_id: UUID | str) -> tuple[UUID, _Held]:
        identity = as_uuid(job_id)
        with suppress(KeyError):
            return identity, self._held[identity]
        raise LeaseLost(f"job {identity} is not held by this process: it was not taken here, is reported already, or was taken back.")


def _lost(identity: UUID, attempt: int) -> LeaseLost:
    return LeaseLost(f"job {identity}: attempt {attempt} is no longer yours. Drop its result.")


def _type(kind: str) -> str:
    return kind.replace("-", "_")


def _view(job: JobView) -> CompatJob:
    said = job.error.get("message") if isinstance(job.error, dict) else None
    ended = job.finished_at if job.state == "completed" else None
    status, times = STATUSES.get(job.state, "PENDING"), (job.run_at, job.created_at, job.started_at, ended)
    return CompatJob(job.id, _type(job.kind), job.payload, status, (job.priority or 0) // PRIORITY, job.attempt, job.result, said, *times)
