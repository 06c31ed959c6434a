"""What the doctor asks about room: how large history is, how long each queue keeps it, what goes next.

Called by: doctor.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from trunkline.cli import show
from trunkline.cli.doctor.finding import Finding, judged
from trunkline.cli.reach import listed
from trunkline.store import Store, history
from trunkline.store.history import Kept, Slice, Storage

HISTORY = ("job", "outcome", "attempt")
LEAVING_WARN_S = 3600.0  # a slice goes within seconds unless somebody's transaction has read it


async def storage(store: Store) -> list[Finding]:
    """Sizes, retention, and what goes next."""
    return findings(await history.storage(store), store.settings.retention_s, datetime.now(UTC))


def findings(found: Storage, retention_s: float, now: datetime) -> list[Finding]:
    """One line each."""
    return [
        Finding("storage", "ok", sizes(found)),
        Finding("history", "ok", slices(found)),
        Finding("retention", "ok", retention(found.retention, retention_s)),
        next_drop(found, retention_s, now),
    ]


def sizes(found: Storage) -> str:
    """Everything, and the largest tables with their indexes."""
    tables = [(each.name, each.bytes + each.index_bytes) for each in found.tables]
    largest = sorted(tables, key=lambda each: -each[1])[:5]
    dead = sum(each.dead for each in found.tables)
    return (
        f"{show.size(sum(size for _, size in tables))}, {dead:,} dead rows: {listed(f'{name} {show.size(size)}' for name, size in largest)}"
    )


def slices(found: Storage) -> str:
    """How much history there is."""
    total = sum(each.bytes + each.index_bytes for each in found.tables if each.name in HISTORY)
    since = f", since {found.slices[0].begins_at:%Y-%m-%d}" if found.slices else ""
    return f"{show.size(total)} in {show.count(len(found.slices), 'slice')}{since}"


def retention(kept: tuple[Kept, ...], retention_s: float) -> str:
    """The installation's time, and that of queues with their own."""
    own = [f"{each.tenant}/{each.queue} {_times(each)}" for each in kept]
    return show.span(retention_s) + (f"; {listed(own, 5)}" if own else "")


def _times(kept: Kept) -> str:
    times = (("completed", kept.completed), ("failed", kept.failed), ("cancelled", kept.cancelled))
    return " ".join(f"{state} {show.span(seconds)}" for state, seconds in times if seconds is not None)


def next_drop(found: Storage, retention_s: float, now: datetime) -> Finding:
    """When the oldest slice may go; until then, and while something in it is needed, it stays."""
    stuck = [each for each in found.slices if each.leaving_since and (now - each.leaving_since).total_seconds() > LEAVING_WARN_S]
    if stuck:
        return judged(
            "next drop",
            f"slice {stuck[0].suffix} has been leaving since {show.ago(stuck[0].leaving_since, now)}",
            warn="A transaction that has read history is still open (see the oldest transaction above), or no worker runs.",
        )
    if not found.slices:
        return Finding("next drop", "ok", "there is no history yet")
    due = _due(found.slices[0], retention_s)
    if due > now:
        return Finding("next drop", "ok", f"slice {found.slices[0].suffix} on {due:%Y-%m-%d} ({show.ago(due, now)})")
    return Finding(
        "next drop", "ok", f"slice {found.slices[0].suffix} stays: a job in it is live, or kept longer. Its other jobs are deleted"
    )


def _due(oldest: Slice, retention_s: float) -> datetime:
    return oldest.ends_at + timedelta(seconds=retention_s)


def document(found: Storage, retention_s: float) -> dict[str, Any]:
    """For JSON: every number."""
    return {
        "retentionS": retention_s,
        "queues": [each._asdict() for each in found.retention],
        "oldestSnapshotS": found.oldest_snapshot_s,
        "nextDropAt": show.moment(_due(found.slices[0], retention_s)) if found.slices else None,
        "slices": [
            {
                "name": each.suffix,
                "beginsAt": show.moment(each.begins_at),
                "endsAt": show.moment(each.ends_at),
                "leavingSince": show.moment(each.leaving_since),
            }
            for each in found.slices
        ],
        "tables": [
            {
                "name": each.name,
                "partitions": each.partitions,
                "bytes": each.bytes,
                "indexBytes": each.index_bytes,
                "live": each.live,
                "dead": each.dead,
                "vacuumedAt": show.moment(each.vacuumed_at),
            }
            for each in found.tables
        ],
    }
