"""Prometheus gauges of an installation: jobs in queues, how long the first has waited, limiters, storage, the oldest snapshot.

They are read from the database, at most once in `EVERY_S` seconds however often somebody scrapes, and by every process that is asked: they
say the same everywhere (take one of them, or `max`). Labels are bounded: 500 queues, the tables and slices there are.
Always true: a database that is away costs a scrape a few seconds and reads `trunkline_database_up 0`, without old values.
Part of the application (`app.gauges`). Calls: store.gauges.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import structlog

from trunkline.engine.alerts import NAMES
from trunkline.engine.reach import Reach
from trunkline.errors import TrunklineError
from trunkline.observe.counts import SOCKET_ERRORS, ProcessCounts
from trunkline.store import gauges
from trunkline.store.gauges import Look

if TYPE_CHECKING:
    from prometheus_client import Metric

EVERY_S = 15.0
WITHIN_S = 8.0  # a scrape gives up after ten seconds
log = structlog.get_logger("trunkline.gauges")


class Gauges:
    """A collector for a prometheus-client registry: `registry.register(app.gauges)`."""

    def __init__(
        self,
        app: Reach,
        *,
        lag_s: Callable[[], float | None],
        counts: Callable[[], ProcessCounts | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`lag_s`: how far the low-water mark of this process is behind; None where it claims nothing. `counts`: what it counted."""
        self._app, self._lag_s, self._counts, self._clock = app, lag_s, counts, clock
        self._look: Look | None = None
        self._looked_at = float("-inf")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._one_at_a_time: asyncio.Lock | None = None
        self.looks = 0

    def attach(self) -> None:
        """Remember the running event loop: `collect` is called by other threads and asks there."""
        self._loop, self._thread, self._one_at_a_time = asyncio.get_running_loop(), threading.get_ident(), asyncio.Lock()

    async def refresh(self) -> None:
        """Look, unless somebody did within `EVERY_S` seconds. An ASGI endpoint awaits this before it writes the registry out."""
        if self._one_at_a_time is None:
            self.attach()
        assert self._one_at_a_time is not None
        async with self._one_at_a_time:
            if self._clock() - self._looked_at < EVERY_S:
                return
            self.looks += 1
            try:
                async with asyncio.timeout(WITHIN_S):
                    self._look = await gauges.look(await self._app.open())
            except (TrunklineError, TimeoutError) as error:
                self._look = None
                log.warning("gauges.not_read", error=str(error) or type(error).__name__)
            self._looked_at = self._clock()

    def describe(self) -> list[Metric]:
        """Nothing, so that registering asks no database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every gauge with its values, for prometheus-client."""
        if self._loop is not None and self._loop.is_running() and threading.get_ident() != self._thread:
            asyncio.run_coroutine_threadsafe(self.refresh(), self._loop).result(WITHIN_S + 2)
        yield _gauge("database_up", "1 when the last look at the database worked.", [((), float(self._look is not None))])
        if (lag := self._lag_s()) is not None:
            yield _gauge("low_water_mark_lag_seconds", "How far behind now the place is from which this process claims.", [((), lag)])
        if (counts := self._counts()) is not None:
            yield from _counted(counts)
        if self._look is not None:
            yield from _queues(self._look)
            yield from _alerts(self._look)
            yield from _storage(self._look)


def _gauge(name: str, says: str, values: Sequence[tuple[tuple[str, ...], float]], labels: tuple[str, ...] = ()) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    made: Metric = GaugeMetricFamily(f"trunkline_{name}", says, labels=labels)
    for of, value in values:
        made.add_metric(of, value)  # type: ignore[attr-defined]
    return made


def _queues(look: Look) -> Iterator[Metric]:
    of = ("tenant", "queue")
    jobs = [((each.tenant, each.queue, each.state), float(each.found)) for each in look.jobs]
    yield _gauge("jobs_in_queue", "Jobs that have not ended, up to 10,000 ready ones of a queue.", jobs, (*of, "state"))
    waited = [((each.tenant, each.queue), each.seconds) for each in look.waited]
    yield _gauge("queue_oldest_ready_seconds", "How long the first job in line has stood there.", waited, of)
    yield _gauge("leases", "Jobs that run now.", [((), float(sum(each.found for each in look.jobs if each.state == "active")))])
    limiters = [((state,), float(count)) for state, count in look.limiters._asdict().items()]
    yield _gauge("limiters", "Limiters that are in use, by state.", limiters, ("state",))


def _alerts(look: Look) -> Iterator[Metric]:
    yield _gauge("processes", "Workers and gateways that are alive.", [((), float(look.processes))])
    raised = [((name,), float(look.alerts.get(name, 0))) for name in NAMES]
    yield _gauge("alert_active", "Alerts that are raised.", raised, ("alert",))


def _counted(counts: ProcessCounts) -> Iterator[Metric]:
    """What this process counted since it opened the database."""
    yield _counter("jobs_created", "Jobs this process put in.", counts.created.items(), ("kind", "queue"))
    yield _gauge(
        "pickup_latency_seconds", "The longest that a job claimed within the last minute had stood in line.", [((), counts.pickup.value)]
    )
    doors = counts.sockets.items()
    if doors:
        of = ("dialect",)
        yield _gauge("websocket_connections_total", "Sockets that are open.", [((name,), float(door.open)) for name, door in doors], of)
        yield _counter("websocket_messages_sent", "Messages put out for clients.", [((name,), door.sent) for name, door in doors], of)
        ended = [((name, reason), door.errors[reason]) for name, door in doors for reason in SOCKET_ERRORS]
        yield _counter("websocket_errors", "Sockets that ended badly.", ended, (*of, "reason"))


def _counter(name: str, says: str, values: Iterable[tuple[tuple[str, ...], float]], labels: tuple[str, ...]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    made: Metric = CounterMetricFamily(f"trunkline_{name}", says, labels=labels)
    for of, value in list(values):
        made.add_metric(of, float(value))  # type: ignore[attr-defined]
    return made


def _storage(look: Look) -> Iterator[Metric]:
    kept, tables = look.storage, look.storage.slices_of
    of = ("table", "slice")

    def by_table(field: str) -> list[tuple[tuple[str, ...], float]]:
        return [((each.name, each.slice), float(getattr(each, field))) for each in tables]

    yield _gauge("table_bytes", "Size of a table without its indexes.", by_table("bytes"), of)
    yield _gauge("index_bytes", "Size of a table's indexes.", by_table("index_bytes"), of)
    yield _gauge("table_rows", "Rows, as the statistics estimate them.", by_table("live"), of)
    yield _gauge("table_dead_rows", "Rows that vacuum has not removed yet, as the statistics estimate them.", by_table("dead"), of)
    yield _gauge("history_slices", "Slices of history.", [((), float(len(kept.slices)))])
    if kept.slices:
        oldest = min(each.begins_at for each in kept.slices).timestamp()
        yield _gauge("oldest_slice_timestamp_seconds", "When the oldest slice of history begins.", [((), oldest)])
    yield _gauge("oldest_snapshot_seconds", "Age of the oldest snapshot; it keeps dead rows.", [((), kept.oldest_snapshot_s or 0.0)])
