"""Writes what running jobs say: the latest progress of each, and their log lines, a few times a second.

Always true: of one job at most one progress waits (the latest); log lines wait in a bounded buffer whose overflow is
counted and said in the log; nothing here delays a handler or an ack.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from typing import Protocol
from uuid import UUID

import structlog

from trunkline.engine.faults import storable
from trunkline.engine.sealing import Sealing
from trunkline.errors import TrunklineError, Unavailable
from trunkline.store import Store, work

EVERY_S = 0.25  # at most 4 writes a second per process, whatever handlers report
MAX_LINES = 10_000
log = structlog.get_logger("trunkline.reporter")


class Attempt(Protocol):
    """What a reporter needs to know of an attempt; `engine.Job` is one."""

    id: UUID
    attempt: int
    tenant_id: int

    @property
    def fence(self) -> tuple[UUID, int]:
        """(job, attempt)."""
        ...


class Reporter:
    """Buffers and flushes."""

    def __init__(self, store: Store, sealing: Sealing | None = None) -> None:
        self._store = store
        self.sealing = sealing  # for what an attempt of an encrypted kind writes, and for jobs that it puts in
        # By tenant, too: an id is unique within its tenant only, and a customer may choose one.
        self._progress: dict[tuple[int, UUID, int], tuple[Attempt, str]] = {}
        self._lines: list[tuple[Attempt, str, str, str | None]] = []
        self._dropped = 0
        self._something = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None  # where `run` runs
        self._writing = asyncio.Lock()  # one write at a time: an older progress must not arrive after a newer one

    def progress(self, job: Attempt, value: str) -> None:
        """Keep the latest progress of a job, JSON text."""
        self._progress[job.tenant_id, job.id, job.attempt] = (job, value)
        self._something.set()

    def log(self, job: Attempt, level: str, message: str, fields: str | None) -> None:
        """Keep a line; safe to call from a handler's thread."""
        if len(self._lines) >= MAX_LINES:
            self._dropped += 1
            return
        self._lines.append((job, level, storable(message), fields))
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._something.set)

    async def flush_job(self, job: Attempt) -> None:
        """Write the waiting progress of a job that is about to end, so that its outcome keeps it."""
        async with self._writing:
            waiting = self._progress.pop((job.tenant_id, job.id, job.attempt), None)
            if waiting is None:
                return
            with suppress(Unavailable):  # the result matters, its last progress does not
                await work.save_progress(self._store, job.tenant_id, [job.id], [job.attempt], [waiting[1]])

    async def run(self) -> None:
        """Flush until cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            await self._something.wait()
            self._something.clear()
            await self.flush()
            await asyncio.sleep(EVERY_S)

    async def flush(self) -> None:
        """Write what waits; a database that is away costs these lines, not the job."""
        async with self._writing:
            await self._flush()

    async def _flush(self) -> None:
        progress, self._progress = self._progress, {}
        lines, self._lines = self._lines, []
        if self._dropped:
            log.warning("reporter.lines_dropped", count=self._dropped)
            self._dropped = 0
        try:
            by_tenant: dict[int, list[tuple[Attempt, str]]] = defaultdict(list)
            for job, value in progress.values():
                by_tenant[job.tenant_id].append((job, value))
            for tenant_id, said in by_tenant.items():
                await work.save_progress(
                    self._store, tenant_id, [j.id for j, _ in said], [j.attempt for j, _ in said], [v for _, v in said]
                )
            for tenant_id in {line[0].tenant_id for line in lines}:
                mine = [line for line in lines if line[0].tenant_id == tenant_id]
                await work.add_log(
                    self._store,
                    tenant_id,
                    [j.id for j, *_ in mine],
                    [j.attempt for j, *_ in mine],
                    [line[1] for line in mine],
                    [line[2] for line in mine],
                    [line[3] for line in mine],
                )
        except TrunklineError as error:
            log.warning("reporter.not_written", error=str(error), progress=len(progress), lines=len(lines))
