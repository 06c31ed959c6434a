"""Progress that comes too fast: the latest, at a pace; endings at once and last."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from tests.support.until import until
from trunkline.model.job import new_id
from trunkline.realtime import Event
from trunkline.realtime.calm import Calm

JOB, OTHER = new_id(), new_id()


def say(what: str, n: int = 0, job_id: UUID = JOB, **more: Any) -> Event:
    return Event(1, f"o{n}", what, what, str(n).encode(), datetime.now(UTC), job_id=job_id, **more)


class Hearers:
    """What clients without offsets (`seen`) and with them (`exact`) are told."""

    def __init__(self, gap_s: float) -> None:
        self.calm = Calm(gap_s, self._hear)
        self.seen: list[tuple[str, int]] = []
        self.exact: list[tuple[str, int]] = []

    def burst(self, *events: Event) -> None:
        self._hear(self.calm.sort(events))

    def _hear(self, events) -> None:
        self.seen += [(event.what, int(event.data)) for event in events if event.pace != "held"]
        self.exact += [(event.what, int(event.data)) for event in events if event.pace != "late"]


async def test_a_flood_of_progress_is_the_first_and_then_the_latest():
    """Of each job by itself; who has offsets is told all, in order."""
    hearers = Hearers(0.05)
    for n in range(0, 100, 2):
        hearers.burst(say("progress", n), say("progress", n + 1), say("progress", n, OTHER))
    assert [("progress", 0), ("progress", 0)] == hearers.seen
    await until(lambda: len(hearers.seen) == 4, "the latest is told")
    await until(lambda: not hearers.calm._told_at and hearers.calm._timer is None, "both jobs are forgotten")

    assert {("progress", 99), ("progress", 98)} == set(hearers.seen[2:])
    assert 150 == len(hearers.exact) and not hearers.calm._held


async def test_endings_are_told_at_once_and_nothing_older_after_them():
    """So are retries; a word of the application's own leaves the progress waiting."""
    for what in ("completed", "failed", "cancelled", "retrying", "started"):
        hearers = Hearers(0.01)
        hearers.burst(say("progress", 1), say("progress", 2), say("update", 3), say(what, 4))
        assert [("progress", 1), ("update", 3), (what, 4)] == hearers.seen
        await until(lambda calm=hearers.calm: calm._timer is None, "the gap is over")
        assert (what, 4) == hearers.seen[-1]
    hearers.burst(say("progress", 5), say("progress", 6), say("update", 7))
    await until(lambda: ("progress", 6) == hearers.seen[-1], "it is told late")


async def test_what_is_not_too_fast_passes_as_it_is():
    """The very burst; and everything, where the rate is 0."""
    free, calm = Calm(0, lambda _: None), Calm(60, lambda _: None)
    burst = [say("queued"), say("completed")]
    assert burst is calm.sort(burst)
    flood = [say("progress", n) for n in range(3)]
    assert flood is free.sort(flood)
    assert [""] * 3 == [event.pace for event in calm.sort([say("progress"), say("progress", 1, OTHER), *burst[:1]])]
    calm.stop()
    await asyncio.sleep(0)
    assert calm._timer is None
