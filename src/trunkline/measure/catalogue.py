"""Every measure by name, in the order in which they run: short ones first, so that a glance tells whether all is well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from trunkline.errors import InvalidInput
from trunkline.measure import (
    claim_cost,
    drain,
    drain_two,
    enqueue_bulk,
    enqueue_single,
    event_latency,
    fairness,
    idle_queries,
    in_flight_memory,
    per_job,
    pickup,
    remote_work,
    rest_latency,
    room_fanout,
    sustained,
    sustained_pinned,
)
from trunkline.measure.result import Result
from trunkline.measure.run import Run


@dataclass(frozen=True, slots=True)
class Measure:
    """What is measured together.

    Attributes:
        names: of the lines it gives; `--only` names them.
        is_large: runs only with `--large`, or when it is named.
    """

    names: tuple[str, ...]
    measure: Callable[[Run], Awaitable[list[Result]]]
    is_large: bool = False


MEASURES = (
    Measure(("drain",), drain.measure),
    Measure(("drain_two",), drain_two.measure),
    Measure(("enqueue_bulk",), enqueue_bulk.measure),
    Measure(("enqueue_single",), enqueue_single.measure),
    Measure(("pickup",), pickup.measure),
    Measure((per_job.WAL, per_job.STATEMENTS, per_job.SERVER_CPU, per_job.CLIENT_CPU), per_job.measure),
    Measure(("idle_queries",), idle_queries.measure),
    Measure(("in_flight_memory",), in_flight_memory.measure),
    Measure(remote_work.RAW, remote_work.raw),
    Measure(remote_work.SOCKETIO, remote_work.socketio),
    Measure(("room_fanout",), room_fanout.measure),
    Measure(("event_latency",), event_latency.measure),
    Measure(("rest_latency",), rest_latency.measure),
    Measure(("sustained",), sustained.measure),
    Measure(("sustained_pinned_reader",), sustained_pinned.reader),
    Measure(("sustained_pinned_writer",), sustained_pinned.writer),
    Measure(("fairness",), fairness.measure, is_large=True),
    Measure(("claim_cost",), claim_cost.measure, is_large=True),
)
NAMES = tuple(name for measure in MEASURES for name in measure.names)


def chosen(only: Sequence[str], *, large: bool) -> list[Measure]:
    """The measures to run.

    Args:
        only: names; none: all, and those for `large` only if it is set.
    Raises:
        InvalidInput: a name is unknown; says which there are.
    """
    if unknown := sorted(set(only) - set(NAMES)):
        raise InvalidInput(f"measure {', '.join(unknown)} is unknown: need {', '.join(NAMES)}.")
    if only:
        return [measure for measure in MEASURES if set(measure.names) & set(only)]
    return [measure for measure in MEASURES if large or not measure.is_large]
