"""How much was done, for rooms that do not know the store: counts of jobs by day, kind and tenant.

Always true: days are those of one time zone; a range is whole days, its last one included.
Called by: jobtypes.analytics_report.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from trunkline.store import Store
from trunkline.store.usage import MOST_ROWS, Usage
from trunkline.store.usage import usage as counted

__all__ = ["MOST_ROWS", "Usage", "usage"]


async def usage(store: Store, tenant_id: int | None, first: date, last: date, zone: str, kinds: list[str] | None) -> list[Usage]:
    """Each kind on each day in each tenant, at most `MOST_ROWS` + 1; `tenant_id` None: of every tenant.

    Args:
        zone: of the days, an IANA name.
        kinds: only these; None: all.
    """
    since, until = (_midnight(day, zone) for day in (first, last + timedelta(days=1)))
    return await counted(store, tenant_id, since, until, zone, kinds)


def _midnight(day: date, zone: str) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
