"""From stored events to what hearers are told: offsets, words for people, results opened.

Called by: realtime.stream, realtime.updates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC
from uuid import UUID

import structlog

from trunkline.realtime.event import Event
from trunkline.realtime.offsets import Position
from trunkline.store.events import Told

BURST = 500  # events of a tenant at a time, and MOST_BYTES of data
MOST_BYTES = 8_388_608  # as in sql read_events()
log = structlog.get_logger("trunkline.stream")
Reveal = Callable[[int, str, Sequence[UUID], str], str]


def as_stored(_: int, __: str, ___: Sequence[UUID], text: str) -> str:
    """Results as the database has them."""
    return text


class Teller:
    """`reveal`: opens results of encrypted kinds, (tenant, kind, job and the one it was copied from, JSON text) -> JSON text."""

    def __init__(self, reveal: Reveal = as_stored) -> None:
        self._reveal = reveal

    def events(self, told: Sequence[Told], place: Position) -> list[Event]:
        """The events of one burst; `place` has the two snapshots that it lies between."""
        return [self._event(each, place.offset(each.seq)) for each in told]

    def _event(self, told: Told, offset: str) -> Event:
        data = told.data or "null"
        is_batch = told.what == "batch_completed"
        if told.what == "completed" and not told.is_said and told.job_id is not None and told.kind is not None:
            data = self._revealed(told, told.job_id, told.kind, data)
        return Event(
            tenant_id=told.tenant_id,
            offset=offset,
            what=told.what,
            status=status_of(told.what, told.status),
            data=data.encode(),
            at=told.at.astimezone(UTC),
            job_id=None if is_batch else told.job_id,
            batch_id=told.job_id if is_batch else None,
            attempt=told.attempt,
            queue=told.queue,
            kind=told.kind,
            user_id=told.user_id,
            is_said=told.is_said,
        )

    def _revealed(self, told: Told, job_id: UUID, kind: str, data: str) -> str:
        try:
            return self._reveal(told.tenant_id, kind, [job_id, *([told.source] if told.source else [])], data)
        except Exception:
            log.exception("stream.not_revealed", job_id=str(job_id))  # one result must not keep everything else from being told
            return "null"


def status_of(what: str, status: str | None) -> str:
    """The word for people."""
    return status or {"progress": "in_progress", "batch_completed": "completed"}.get(what, what)


def is_all(told: Sequence[Told]) -> bool:
    """Whether there was no more to read than this."""
    return len(told) < BURST and sum(len(each.data.encode()) for each in told if each.data) < MOST_BYTES
