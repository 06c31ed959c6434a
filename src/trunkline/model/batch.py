"""A batch as people see it (`BatchView`), and what became of sending one (`BatchSent`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec


@dataclass(frozen=True, slots=True)
class BatchView:
    """Jobs sent together, as counted at this moment.

    Attributes:
        state: open (more jobs may come), running, cancelling or done.
        total: jobs in it; a duplicate, whose key another job held, is none of them.
        completed, failed, cancelled: those that ended so.
        done_at: when the last one had ended; None again while one is put back by hand.
        success_job, complete_job: the callbacks that were sent.
    """

    id: UUID
    tenant_id: int
    name: str | None
    state: str
    total: int
    completed: int
    failed: int
    cancelled: int
    created_at: datetime
    sealed_at: datetime | None
    done_at: datetime | None
    cancelled_at: datetime | None
    success_job: UUID | None
    complete_job: UUID | None

    @property
    def ended(self) -> int:
        """Jobs that have ended, however they did."""
        return self.completed + self.failed + self.cancelled

    @property
    def remaining(self) -> int:
        """Jobs that have not ended."""
        return self.total - self.ended

    @property
    def progress(self) -> float:
        """Per cent of its jobs that have ended, 0..100; 100 for none."""
        return 100.0 * self.ended / self.total if self.total else 100.0

    @property
    def is_done(self) -> bool:
        """Whether it is sealed and every job has ended."""
        return self.done_at is not None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = msgspec.to_builtins(asdict(replace(self)))
        assert isinstance(plain, dict)
        return plain
