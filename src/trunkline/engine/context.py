"""`Job`: one attempt as its handler sees it.

Always true: everything it writes carries (job, attempt), so an attempt that lost its lease changes nothing and is told so.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from trunkline.engine.handlers import Handler
from trunkline.engine.patience import patiently
from trunkline.engine.reporter import Reporter
from trunkline.engine.sealing import Sealing
from trunkline.engine.vault import PAYLOAD, RESULT, Vault, What, is_sealed, no_key, sealed_text
from trunkline.errors import InvalidInput, LeaseLost, SecretInPayload
from trunkline.model import Claimed, as_uuid, family
from trunkline.model.payload import decode, encode
from trunkline.model.secret_fields import SecretFields
from trunkline.model.trace import traceparent
from trunkline.observe import logs
from trunkline.store import Store, enqueue, foreign, privacy, read, work
from trunkline.store.read import Parent

current_job: ContextVar[Job | None] = ContextVar("trunkline_job", default=None)


def _about_job() -> dict[str, Any] | None:
    job = current_job.get()
    return None if job is None else job.about()


logs.about(_about_job)
logs.hide(SecretFields.of("default").names)


class Job:
    """One attempt of one job.

    Attributes:
        id, kind, queue, tenant_id, user_id, priority: as enqueued.
        attempt: number of this claim, from 1; with `id` it is the fence.
        failures: attempts so far that counted against the retry limit.
        cancelled: whether somebody wants this job to end, or its lease was lost; a long synchronous handler looks at it.
        payload_text: the payload as JSON text; as it is stored, but for an encrypted one, which is opened when the attempt starts.
        ending, error: how it was reported, unless as completed, and what the handler raised; set at the end, where they are.
        deadline_at: monotonic seconds at which this attempt is taken away.
    """

    __slots__ = (
        "_options",
        "_reporter",
        "_spawned",
        "_store",
        "attempt",
        "began_at",
        "cancelled",
        "claimed_at",
        "deadline_at",
        "ending",
        "error",
        "failures",
        "handler",
        "id",
        "ord",
        "payload_text",
        "priority",
        "queue",
        "reported_in_transaction",
        "said_something",
        "seals",
        "stop_reason",
        "task",
        "tenant_id",
        "took_s",
        "user_id",
    )

    ending: str
    error: BaseException

    def __init__(self, claimed: Claimed, tenant_id: int, queue: str, handler: Handler, store: Store, reporter: Reporter) -> None:
        self.id, self.attempt, self.failures, self.priority, self.ord, _, self.payload_text, self._options, self.user_id = claimed
        self.tenant_id = tenant_id
        self.queue = queue
        self.handler = handler
        self.seals = handler.seals  # what is encrypted, bits: 1 payload, 2 result
        self.cancelled = False
        self.deadline_at = self.claimed_at = self.began_at = self.took_s = (
            0.0  # monotonic; took_s: seconds of the attempt, once it has ended
        )
        self.reported_in_transaction = False
        self.said_something = False  # progress or a report of its own: its end needs more than a plain ack
        self.stop_reason: str | None = None  # why its task was cancelled: timed_out, cancelled, lost, released
        self.task: asyncio.Task[None] | None = None
        self._store = store
        self._reporter = reporter
        self._spawned = 0

    @property
    def kind(self) -> str:
        """The job type."""
        return self.handler.kind

    @property
    def fence(self) -> tuple[UUID, int]:
        """(id, attempt): give it to outside systems so that they can refuse a late attempt."""
        return (self.id, self.attempt)

    @property
    def payload(self) -> Any:
        """The payload, decoded at each access."""
        return decode(self.payload_text)

    @property
    def options(self) -> dict[str, Any]:
        """The job's own options, {} for a plain job."""
        return {} if self._options is None else decode(self._options)

    def about(self) -> dict[str, Any]:
        """What log lines say of it."""
        return {"job_id": str(self.id), "attempt": self.attempt, "tenant_id": self.tenant_id, "kind": self.kind}

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context that it was enqueued in."""
        return None if self._options is None else self.options.get("traceparent")

    @property
    def scheduled_for(self) -> datetime | None:
        """The time at which its schedule was due, however late this runs; None: no schedule made it."""
        due_at = self.options.get("scheduled_for")
        return None if due_at is None else datetime.fromisoformat(due_at)

    @property
    def created_at(self) -> datetime:
        """When it was enqueued, from its UUIDv7; milliseconds."""
        return datetime.fromtimestamp((self.id.int >> 80) / 1000, UTC)

    async def progress(self, percent: float, message: str | None = None, *, current: int | None = None, total: int | None = None) -> None:
        """Tell watchers how far it is. Cheap: the latest of each job is written a few times a second.

        Args:
            percent: 0..100.
            current, total: steps, where the work has them.
        """
        if isinstance(percent, bool) or not isinstance(percent, (int, float)) or not 0 <= percent <= 100:
            raise InvalidInput(f"progress is {percent!r}: need a number from 0 to 100.")
        value: dict[str, Any] = {"percentage": percent}
        if message is not None:
            value["message"] = str(message)[:2000]
        if current is not None:
            value["current"] = int(current)
        if total is not None:
            value["total"] = int(total)
        self.said_something = True
        self._reporter.progress(self, encode(value))
        await asyncio.sleep(0)

    def log(self, message: str, *, level: str = "info", **fields: Any) -> None:
        """Keep a line with the job for people (`jobs show`); written in the background, at most 1,000 a job."""
        if level not in ("debug", "info", "warning", "error"):
            raise InvalidInput(f"log level is {level!r}: need debug, info, warning or error.")
        self._reporter.log(self, level, message, encode(fields, what="log fields") if fields else None)

    async def checkpoint(self, value: Any) -> None:
        """Keep `value` (JSON) for the next attempt of this job; durable when this returns.

        Raises:
            LeaseLost: this attempt is no longer the owner; nothing was kept.
        """
        text = self.sealed("checkpoint", encode(value, what="checkpoint")) if self.seals & PAYLOAD else encode(value, what="checkpoint")
        if not await work.save_checkpoint(self._store, self.tenant_id, self.id, self.attempt, text):
            raise self.lost()

    async def last_checkpoint(self) -> Any:
        """The value the last attempt kept, or None."""
        text = await work.checkpoint(self._store, self.tenant_id, self.id)
        return None if text is None else decode(self._opened("checkpoint", text) if is_sealed(text) else text)

    @property
    def batch(self) -> dict[str, Any] | None:
        """In a callback of a batch, what became of it: id, name, event (success or complete), total, completed, failed, cancelled."""
        return self.options.get("batch")

    async def parents(self) -> dict[UUID, Parent]:
        """The jobs that this one waited for, with their results; one whose retention is over is missing."""
        found = await read.parents(self._store, self.tenant_id, [UUID(parent) for parent in self.options.get("depends_on", ())])
        return {job_id: parent._replace(result=self._result_of(job_id, parent)) for job_id, parent in found.items()}

    def _result_of(self, job_id: UUID, parent: Parent) -> Any:
        """A parent's result, opened where it is encrypted."""
        text = sealed_text(parent.result)
        if text is None:
            return parent.result
        vault = self._vault()
        if vault is None:
            raise no_key("result", parent.kind)
        return decode(vault.open(self.tenant_id, parent.kind, [job_id], "result", text))

    async def spawn(
        self, kind: str, payload: Any = None, *, key: str | None = None, after: bool = True, connection: Any = None, **options: Any
    ) -> UUID:
        """Put in a job that runs when this one has completed; if this one belongs to a batch, so does it. Options: see model.new_job.

        A further attempt of this job finds the jobs that earlier attempts spawned instead of making them again: by `key`, or
        else by their order. Give keys where the order may differ from attempt to attempt.

        Args:
            after: False: it may run at once.
            connection: your own connection with a transaction open; the job exists if and only if that commits.
        """
        self._spawned += 1
        options.setdefault("idempotency_key", f"{self.id}/{key or self._spawned}")
        options.setdefault("batch_id", self.options.get("batch_id"))
        if self._store.settings.trace_context:
            options.setdefault("traceparent", traceparent())
        sealing = self._reporter.sealing or Sealing(None, max_bytes=self._store.settings.payload_max_bytes)
        try:
            job = sealing.new_job(kind, payload, **options)
        except SecretInPayload:  # what an encrypted kind is for
            if not await privacy.sealed_kinds(self._store, self.tenant_id, [kind]):
                raise
            job = sealing.new_job(kind, payload, **{**options, "allow_secrets": True})
        if after:
            job = family.after(job, [self.id])
        if connection is None:
            sent = await sealing.sending(
                self._store,
                self.tenant_id,
                [job],
                lambda jobs: patiently(lambda: enqueue.jobs(self._store, self.tenant_id, jobs), self._store.settings.command_timeout_s),
            )
            return sent[0][0]
        (job,) = await sealing.asked(self._store, self.tenant_id, [job])
        rows = await foreign.rows(
            connection,
            self._store.sql(enqueue.JOBS),
            (self.tenant_id, *map(list, enqueue.arguments([job]))),
            ("bigint", *enqueue.JOB_TYPES),
        )
        self._store.counts.some_enqueued(self.tenant_id, [job], [bool(rows[0][1])])
        return UUID(str(rows[0][0]))

    async def complete(self, result: Any = None, *, connection: Any) -> None:
        """End this job as completed inside the caller's own open transaction: both commit, or neither.

        Args:
            connection: an asyncpg, psycopg or SQLAlchemy connection (sync or async) with a transaction open.
        Raises:
            LeaseLost: this attempt is no longer the owner; roll back.
        """
        text = None if result is None else encode(result, what="result", max_bytes=self._store.settings.result_max_bytes)
        if text is not None and self.seals & RESULT:
            text = self.sealed("result", text)
        stale = await foreign.rows(
            connection,
            self._store.sql(work.ACK_COMPLETED),
            (self.tenant_id, [self.id], [self.attempt], [text]),
            ("bigint", "uuid[]", "integer[]", "json[]"),
        )
        if stale:
            raise self.lost()
        self.reported_in_transaction = self.said_something = True

    def unseal(self) -> None:
        """Open an encrypted payload. What this attempt writes is then encrypted, too, whatever its handler was declared as here.

        Raises:
            NotReadable: there is no key for it, or it belongs elsewhere.
        """
        self.payload_text = self._opened("payload", self.payload_text)
        self.seals = self.handler.seals or PAYLOAD | RESULT

    def sealed(self, what: What, text: str) -> str:
        """JSON text of this attempt, encrypted."""
        vault = self._vault()
        if vault is None:
            raise no_key(what, self.kind)
        return vault.seal(self.tenant_id, self.kind, self.id, what, text)

    def _vault(self) -> Vault | None:
        sealing = self._reporter.sealing
        return None if sealing is None else sealing.vault

    def _opened(self, what: What, text: str) -> str:
        vault = self._vault()
        if vault is None:
            raise no_key(what, self.kind)
        copied_from = self.options.get("dead_letter_of")
        return vault.open(self.tenant_id, self.kind, [self.id, *([as_uuid(copied_from)] if copied_from else [])], what, text)

    def lost(self) -> LeaseLost:
        """The error of an attempt whose lease is gone."""
        return LeaseLost(
            f"job {self.id}: attempt {self.attempt} is no longer yours. Drop its result; raise the timeout of {self.kind!r} if this repeats."
        )
