"""Hands claimed jobs to remote workers and takes their reports: the desk (engine.remote) of this process.

A job's way: `take` gives it to the worker with the most room; `started`, `progress`; `completed` or `failed` lets go of it and
answers when the database has it written. Or it ends otherwise: at its deadline, 10 s after a cancel, with its connection.
Always true: a worker is never sent more than its capacity unreported; a report counts only from the connection that was given
that attempt; what was not started when its connection ended is handed back at once, what was started waits for the client
to come back (`grace_s`) and is then lost; each job is reported exactly once or its lease was lost.
Called by: gateway, commands. Calls: engine.remote.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from itertools import chain, count
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from msgspec import Raw

from trunkline.engine import Job, RemoteWork, Settled
from trunkline.engine.faults import fault, fault_of
from trunkline.engine.line import Line
from trunkline.errors import LeaseLost, NotReadable, RateLimited
from trunkline.gateway.connection import Connection, Held, Seat
from trunkline.model import kind_name
from trunkline.wire.pushes import CancelRequest, WorkRequest

GRACE_S = 5.0
CANCEL_GRACE_S = 10.0
LOOK_EVERY_S = 0.25
MOST_SEATS = 1000  # lines one connection may work on
Fence = tuple[UUID, int]
Key = tuple[int, UUID, int]  # tenant, job, attempt: an id is unique within its tenant only, and a customer may choose one
log = structlog.get_logger("trunkline.gateway")


class Ending(NamedTuple):
    """What the database made of a report: `what` is completed, lost, ready, deferred, failed or cancelled."""

    what: str
    settled: Settled | None


class Leaving(NamedTuple):
    """A report on its way."""

    held: Held
    answer: asyncio.Future[Ending]


class Dispatcher:
    """The desk. `watch` is a loop to be kept going."""

    def __init__(self, remote: RemoteWork, *, grace_s: float = GRACE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._remote = remote
        self._grace_s, self._clock = grace_s, clock
        self._seats: dict[int, list[Seat]] = defaultdict(list)
        self._held: dict[Key, Held] = {}
        self._leaving: dict[Key, Leaving] = {}
        self._parked: dict[str, tuple[Connection, float]] = {}
        self._turns = count(1)
        self._look_at = float("inf")
        self._tasks: set[asyncio.Task[None]] = set()
        self.finished = 0
        self.arriving = 0
        self._is_draining = False

    # -- what the engine asks and says ---------------------------------------------------

    @property
    def running(self) -> int:
        """Jobs with workers, or waiting for their workers to come back."""
        return len(self._held)

    @property
    def is_busy(self) -> bool:
        """Whether a worker has a job, or waits to hear that its report is written."""
        return bool(self._held or self._leaving)

    def room(self, queue_id: int) -> int:
        """How many more jobs the workers of a line take."""
        return 0 if self._is_draining else sum(seat.free for seat in self._seats.get(queue_id, ()))

    def take(self, line: Line, jobs: list[Job]) -> None:
        """Give each job to the worker that is least busy for its size; among equals to the one that waits longest."""
        if self._is_draining:  # this claim was under way
            for job in jobs:
                self._remote.ended(job, "released")
            return
        heap = [(len(s.held) / s.capacity, s.turn, id(s), s) for s in self._seats.get(line.queue_id, ()) if s.free]
        heapq.heapify(heap)
        for job in jobs:
            if not heap:  # a worker left while the claim was under way
                self._remote.ended(job, "released")
                continue
            seat = heapq.heappop(heap)[3]
            self._give(seat, job)
            if seat.free:
                heapq.heappush(heap, (len(seat.held) / seat.capacity, seat.turn, id(seat), seat))

    def _give(self, seat: Seat, job: Job) -> None:
        connection = seat.connection
        expires_at = self._remote.database_now() + timedelta(seconds=job.deadline_at - self._clock())
        job.began_at = self._clock()
        held = Held(job, connection, seat, seat.name)
        seat.turn = next(self._turns)
        seat.held.add(held)
        connection.held[job.id] = held
        self._held[_key(job)] = held
        self._look_at = min(self._look_at, job.deadline_at)
        connection.peer.push(
            WorkRequest(
                id=job.id,
                name=seat.name,
                data=Raw(job.payload_text.encode()),
                state="retry" if job.failures else "created",
                retry_count=job.failures,
                priority=job.priority,
                created_at=job.created_at,
                attempt=job.attempt,
                expires_at=expires_at,
                traceparent=job.traceparent,
            )
        )

    def fences(self) -> set[Fence]:
        """(job, attempt) of all that is held here or being reported."""
        return {(job_id, attempt) for _, job_id, attempt in self._held.keys() | self._leaving.keys()}

    def cancel_requested(self, leases: Sequence[Key]) -> None:
        """Tell the workers, once; 10 s later the attempts are over."""
        for lease in leases:
            held = self._held.get(lease)
            if held is not None and held.cancel_at is None:
                held.cancel_at = self._clock() + CANCEL_GRACE_S
                self._look_at = min(self._look_at, held.cancel_at)
                self._stop(held)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def session_over(self) -> None:
        """Every lease may be somebody else's: workers are told to stop, and what they report is refused."""
        log.warning("gateway.leases_lost", jobs=len(self._held))
        for held in list(self._held.values()):
            self._stop(held)
            self._let_go(held)
        self._parked.clear()

    def ended(self, job: Job, what: str, settled: Settled | None) -> None:
        """A report is written: its worker has its answer."""
        leaving = self._leaving.pop(_key(job), None)
        if leaving is None:
            return
        if not leaving.answer.done():
            leaving.answer.set_result(Ending(what, settled))

    # -- workers come and go -------------------------------------------------------------

    async def register(self, connection: Connection, name: str, capacity: int) -> None:
        """Send `connection` the jobs of a name, `capacity` at once; said again, the new capacity counts."""
        queue = kind_name(name)
        if queue not in connection.seats and connection.is_open:
            if len(connection.seats) >= MOST_SEATS:
                raise RateLimited(f"this connection works on {MOST_SEATS} names already. Open another one.")
            queue_id = await self._remote.open_line(connection.principal.tenant_id, queue)
            if connection.is_open and queue not in connection.seats:
                seat = connection.seats[queue] = Seat(connection, queue_id, queue, name, capacity)
                self._seats[queue_id].append(seat)
                for held in connection.held.values():  # resumed: they count
                    if held.seat is None and held.job.queue == queue:
                        held.seat = seat
                        seat.held.add(held)
            elif not self._seats.get(queue_id):
                self._remote.close_line(queue_id)
        if seat_now := connection.seats.get(queue):
            seat_now.name, seat_now.capacity = name, capacity
            self._remote.freed()

    def unregister(self, connection: Connection, name: str) -> bool:
        """Send it no more of them; what was not started is handed back. False: it was not registered."""
        seat = connection.seats.pop(kind_name(name), None)
        if seat is None:
            return False
        self._leave_seat(seat)
        return True

    def disconnected(self, connection: Connection) -> None:
        """Its socket is gone. Twice is once."""
        if not connection.is_open:
            return
        connection.is_open = False
        for seat in connection.seats.values():
            self._leave_seat(seat)
        connection.seats.clear()
        for held in [held for held in connection.held.values() if not held.is_started]:
            self._end(held, "released")
        if connection.held:
            until = self._clock() + self._grace_s
            self._parked[connection.id] = (connection, until)
            self._look_at = min(self._look_at, until)

    def give_up(self, old_id: str, is_same: Callable[[Connection], bool]) -> list[Held]:
        """What a client that went away had started, for its next connection, here or elsewhere: nothing here holds it any more."""
        parked = self._parked.get(old_id)
        if parked is None or not is_same(parked[0]):
            return []
        del self._parked[old_id]
        kept = list(parked[0].held.values())
        for held in kept:
            self._let_go(held)
        return kept

    def adopt(self, connection: Connection, jobs: Sequence[Job]) -> None:
        """Started jobs that `connection` brought along; they take up no seat until it registers for their names."""
        for job in jobs:
            job.began_at = self._clock()
            held = Held(job, connection, None, job.queue, is_started=True)
            connection.held[job.id] = held
            self._held[_key(job)] = held
            self._look_at = min(self._look_at, job.deadline_at)
        if not connection.is_open:  # it left while they were on their way
            for held in list(connection.held.values()):
                self.lose(held)

    def lose(self, held: Held) -> None:
        """Its worker will not come back: one failure, and it is offered again."""
        self._end(held, "lost", fault("lost", "its worker's connection was lost"))

    def _leave_seat(self, seat: Seat) -> None:
        seats = self._seats[seat.queue_id]
        seats.remove(seat)
        if not seats:
            del self._seats[seat.queue_id]
            self._remote.close_line(seat.queue_id)
        for held in list(seat.held):
            held.seat = None
            if not held.is_started:
                self._end(held, "released")
        seat.held.clear()

    # -- reports -------------------------------------------------------------------------

    def find(self, connection: Connection, job_id: UUID, attempt: int | None) -> Held:
        """The job that this connection holds; without `attempt` the one it was given.

        Raises:
            LeaseLost: it does not hold it (any more); whose it is now is not said.
        """
        held = connection.held.get(job_id)
        if held is None or attempt not in (None, held.job.attempt):
            raise LeaseLost(
                f"job {job_id}: this connection does not hold {'it' if attempt is None else f'attempt {attempt}'}. Drop its result."
            )
        return held

    def started(self, held: Held) -> None:
        """Its handler runs now."""
        held.is_started = True

    def progress(self, held: Held, value: str) -> None:
        """Keep how far it is (JSON text)."""
        self.started(held)
        self._remote.progress(held.job, value)

    async def report(self, held: Held, ending: str | None, text: str | None, delay_s: float | None = None) -> Ending:
        """End a job as its worker says, and answer when that is written. `ending` None: completed, with `text` as its result.

        Raises:
            NotReadable: the result must be encrypted and there is no key; the job failed, as it does with a local worker.
        """
        if ending is None:
            try:
                text = self._remote.kept(held.job, text)
            except NotReadable as error:
                ended = await self._end(held, "fatal" if error.for_good else "failed", fault_of(error))
                if ended.what != "lost":
                    raise
                return ended
        return await self._end(held, ending, text, delay_s)

    def _end(self, held: Held, ending: str | None, text: str | None = None, delay_s: float | None = None) -> asyncio.Future[Ending]:
        job = held.job
        answer: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._leaving[_key(job)] = Leaving(held, answer)
        self._let_go(held)
        if job.said_something and ending != "released":
            self._in_background(self._after_progress(job, ending, text, delay_s))
        else:
            self._submit(job, ending, text, delay_s)
        return answer

    async def _after_progress(self, job: Job, ending: str | None, text: str | None, delay_s: float | None) -> None:
        try:
            await self._remote.before_end(job)
        finally:
            self._submit(job, ending, text, delay_s)

    def _submit(self, job: Job, ending: str | None, text: str | None, delay_s: float | None) -> None:
        if ending is None:
            self._remote.completed(job, text)
        else:
            self._remote.ended(job, ending, text, delay_s)

    def _let_go(self, held: Held) -> None:
        held.job.took_s = self._clock() - held.job.began_at
        self._held.pop(_key(held.job), None)
        if held.connection.held.get(held.job.id) is held:
            del held.connection.held[held.job.id]
        if held.seat is not None:
            held.seat.held.discard(held)
        self.finished += 1
        self._remote.freed()

    # -- time ----------------------------------------------------------------------------

    async def watch(self) -> None:
        """End what is past its time, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look(self._clock())

    def look(self, now: float) -> None:
        """End what is past its time at monotonic time `now`. Looks at the jobs only when one can be."""
        if now < self._look_at:
            return
        for held in list(self._held.values()):
            if held.job.deadline_at <= now:
                self._stop(held)
                self._end(held, "timed_out", fault("timed_out", "it took longer than its timeout"))
            elif held.cancel_at is not None and held.cancel_at <= now:
                self._end(held, "cancelled", fault("cancelled", "cancelled by request"))
        for connection_id, (connection, until) in list(self._parked.items()):
            if until <= now or not connection.held:
                del self._parked[connection_id]
                for held in list(connection.held.values()):
                    self.lose(held)
        ends = (min(held.job.deadline_at, held.cancel_at or float("inf")) for held in self._held.values())
        self._look_at = min(chain(ends, (until for _, until in self._parked.values())), default=float("inf"))

    def drain(self) -> int:
        """Take nothing more, and hand back what no worker has started; how many. Their workers are told not to."""
        self._is_draining = True
        unstarted = [held for held in self._held.values() if not held.is_started]
        for held in unstarted:
            self._stop(held)
            self._end(held, "released")
        return len(unstarted)

    def _stop(self, held: Held) -> None:
        if held.connection.is_open:
            held.connection.peer.push(CancelRequest(id=held.job.id, attempt=held.job.attempt))


def _key(job: Job) -> Key:
    return (job.tenant_id, job.id, job.attempt)
