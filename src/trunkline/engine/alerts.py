"""`app.alerts`, and what handlers of `alert` and `monitor-states` are given.

Part of the application. Calls: store.alerts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trunkline.engine.reach import Reach
from trunkline.store import alerts
from trunkline.store.alerts import AlertRow, StateRow

NAMES = ("dead_letters", "worker_down", "retry_rate", "failure_rate", "stalled", "slow")
WINDOW_S = 300.0  # what ended is counted over these


@dataclass(frozen=True, slots=True)
class Alert:
    """Something is wrong, or is no more.

    Attributes:
        name: one of NAMES.
        state: "alert" while it is raised, "resolved" once it is over.
        tenant: whose; None: the installation's.
        subject: the queue; the host of a worker that is down; "" for a tenant's dead letters.
        value, threshold: jobs, a share (0 to 1), seconds or a factor, as the name says; the value when it was looked at last.
    """

    name: str
    state: str
    tenant: str | None
    subject: str
    value: float
    threshold: float
    raised_at: datetime
    resolved_at: datetime | None = None

    @property
    def message(self) -> str:
        """One sentence for people."""
        return f"{'resolved: ' if self.state == 'resolved' else ''}{_SENTENCES[self.name](self)}"

    def as_dict(self) -> dict[str, Any]:
        """Its fields and the message, for JSON."""
        return {
            "name": self.name,
            "state": self.state,
            "tenant": self.tenant,
            "subject": self.subject,
            "value": self.value,
            "threshold": self.threshold,
            "raisedAt": self.raised_at.isoformat(),
            "resolvedAt": None if self.resolved_at is None else self.resolved_at.isoformat(),
            "message": self.message,
        }


def _line(alert: Alert) -> str:
    return f"queue {alert.tenant}/{alert.subject}"


def _down(alert: Alert) -> str:
    if alert.subject == "too few processes":
        return f"{alert.value:g} processes fewer are alive than there should be"
    return f"{alert.value:g} process{'' if alert.value == 1 else 'es'} on {alert.subject} went away without a goodbye"


_SENTENCES: dict[str, Callable[[Alert], str]] = {
    "dead_letters": lambda a: (
        f"tenant {a.tenant} keeps {a.value:g}{' or more' if a.value >= 2 * a.threshold else ''} failed jobs, over {a.threshold:g}"
    ),
    "worker_down": _down,
    "retry_rate": lambda a: f"{a.value:.0%} of the attempts of {_line(a)} are repeated, over {a.threshold:.0%}",
    "failure_rate": lambda a: f"{a.value:.0%} of the jobs of {_line(a)} fail, over {a.threshold:.0%}",
    "stalled": lambda a: f"{_line(a)} has had jobs waiting for {a.value:.0f} s and none started or ended",
    "slow": lambda a: f"jobs of {_line(a)} take {a.value:.1f} times as long as in the hour before",
}


def alert_of(row: AlertRow, *, news: bool = False) -> Alert:
    """As people see it; `news`: as of what handlers are to be told."""
    state = ("alert" if row.news == 1 else "resolved") if news else ("alert" if row.resolved_at is None else "resolved")
    return Alert(row.name, state, row.tenant, row.subject, row.value, row.threshold, row.raised_at, row.resolved_at)


class QueueStates(StateRow):
    """How a queue stands. `created`: not started, `retry`: not started again, `active`: runs; each count stops at 10,000.
    `completed`, `failed` (jobs) and `retried` (attempts): within the last five minutes."""

    __slots__ = ()

    @property
    def per_second(self) -> float:
        """Jobs that ended a second, over five minutes."""
        return (self.completed + self.failed) / WINDOW_S

    @property
    def mean_s(self) -> float | None:
        """Mean seconds of the attempts that completed; None: none did."""
        return self.busy_s / self.completed if self.completed else None


@dataclass(frozen=True, slots=True)
class States:
    """All queues with jobs, at most 1,000, the fullest first, by `tenant/queue`."""

    queues: Mapping[str, QueueStates]

    def total(self, name: str) -> int:
        """The sum of a count over all queues: created, retry, active, completed, failed or retried."""
        return sum(getattr(each, name) for each in self.queues.values())


def states_of(rows: Sequence[StateRow]) -> States:
    """As handlers are told."""
    return States({f"{row.tenant}/{row.queue}": QueueStates._make(row) for row in rows})


class Alerts:
    """Of one application."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    async def list(self, *, tenant: str | None = None, only_active: bool = True) -> list[Alert]:
        """Alerts that are raised, newest first; then, without `only_active`, those resolved within a day.

        Args:
            tenant: of this one; None: of all, and of the installation. At most 1,000.
        """
        tenant_id = None if tenant is None else await self._reach.known_tenant_id(tenant)
        return [alert_of(row) for row in await alerts.alerts(await self._reach.open(), tenant_id, only_active=only_active)]

    async def states(self) -> States:
        """What `monitor-states` tells, now."""
        return states_of(await alerts.states(await self._reach.open()))
