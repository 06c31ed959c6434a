"""The duty of worker processes that plans and fires schedules.

```
tick ──due──► due_schedules ──► compute in Python ──► plan_schedule | fire        (both fenced by the row's revision)
```

Every worker process does this at the same moment and nobody needs to be the leader: whoever writes first wins, for the others
the revision has changed. A process that dies anywhere in between leaves the schedule due, and the next tick of any other finds it.
Always true: a schedule whose firing is refused moves on to its next time and shows why; one that cannot be written now (no
database, somebody's lock; a quota that is used up, at its only time) stays due and is tried again with the next tick; neither
holds up the others.
Called by: worker.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import structlog

from trunkline.engine.heart import Heart
from trunkline.errors import InvalidInput, QuotaExceeded, TrunklineError, Unavailable
from trunkline.store import Store, schedules
from trunkline.store.schedules import Due

AT_ONCE = 100  # schedules read in one round; a round that was full is followed by another
ON_TIME = timedelta(seconds=60)  # found later than this, a firing counts as missed: nobody was there (a deploy takes less)
log = structlog.get_logger("trunkline.scheduler")


class Scheduler:
    """Sleeps until the tick says that a schedule needs somebody."""

    def __init__(self, store: Store, heart: Heart) -> None:
        self._store = store
        self._heart = heart

    async def run(self) -> None:
        """Attend to schedules until cancelled."""
        while True:
            await self._heart.schedules_due.wait()
            self._heart.schedules_due.clear()
            try:
                if await self.round():
                    self._heart.tick_soon()  # what is due next may be less than a tick away
            except TrunklineError as error:
                log.warning("scheduler.not_read", error=str(error))

    async def round(self) -> int:
        """Plan and fire what needs it now; how many schedules moved on."""
        moved = 0
        while True:
            found = await schedules.due(self._store, AT_ONCE)
            random.shuffle(found)  # so that processes which woke at the same moment share the work
            done = sum([await self._attend(one) for one in found])
            moved += done
            if len(found) < AT_ONCE or not done:
                return moved

    async def _attend(self, one: Due) -> bool:
        """Plan or fire one schedule; whether it moved on."""
        try:
            return await (self._plan(one) if one.next_run_at is None else self._fire(one, one.next_run_at))
        except Unavailable as error:
            log.warning("scheduler.waiting", schedule=one.name, tenant_id=one.tenant_id, error=str(error))
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not hold up the others
            log.error("scheduler.impossible", schedule=one.name, tenant_id=one.tenant_id, error=repr(error))
            return await schedules.plan(self._store, one, None, str(error) if isinstance(error, InvalidInput) else repr(error))

    async def _plan(self, one: Due) -> bool:
        first = one.rule.after(one.plan_from)
        error = f"cron expression {one.cron!r} never comes true: no such day within 50 years." if first is None and one.cron else None
        return await schedules.plan(self._store, one, first, error)

    async def _fire(self, one: Due, first: datetime) -> bool:
        due_ats = chosen(one, first)
        next_run_at = one.rule.after(one.now)
        try:
            made = await schedules.fire(self._store, one, due_ats, next_run_at)
        except Unavailable:
            raise
        except QuotaExceeded as error:
            log.warning("scheduler.over_quota", schedule=one.name, tenant_id=one.tenant_id, due_at=str(first), error=str(error))
            if next_run_at is None:  # its only time: it stays due
                await schedules.plan(self._store, one, first, str(error))
                return False
            return await schedules.plan(self._store, one, next_run_at, str(error))
        except TrunklineError as error:
            log.error("scheduler.refused", schedule=one.name, tenant_id=one.tenant_id, due_at=str(first), error=str(error))
            return await schedules.plan(self._store, one, next_run_at, str(error))
        if made is None:
            return False
        if not due_ats or due_ats[0] != first:
            log.warning(
                "scheduler.missed",
                schedule=one.name,
                tenant_id=one.tenant_id,
                policy=one.missed,
                missed_from=str(first),
                fired=len(due_ats),
            )
        return True


def chosen(one: Due, first: datetime) -> list[datetime]:
    """Which of the due times from `first` to now are fired, by the schedule's policy for missed ones."""
    latest = one.rule.latest(first, one.now, one.missed_limit if one.missed == "all" else 1)
    if one.missed == "skip" and one.now - latest[-1] > ON_TIME:
        return []
    return latest
