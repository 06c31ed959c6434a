"""OpenTelemetry: a span where a job is sent, one for its wait here, and one for each attempt. Without an SDK they cost next to nothing.

Called by: app (enqueue), and applications: `app.middleware(Tracing())`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

PASSING = ("Snooze", "RetryAfter")  # said by a handler for whom nothing went wrong


class Attempt(Protocol):
    """What a span says of an attempt."""

    id: Any
    attempt: int
    queue: str
    tenant_id: int
    claimed_at: float  # monotonic

    @property
    def kind(self) -> str:
        """The job type."""

    @property
    def options(self) -> dict[str, Any]:
        """Its options, with `traceparent`."""


def is_passing(error: BaseException) -> bool:
    """Whether it only asks to run later."""
    return any(kind.__name__ in PASSING for kind in type(error).__mro__)


class Tracing:
    """Middleware: spans for each attempt, `receive` from its claim to its start and `process`, in the trace that enqueued the job; and
    `send` where an application that has it enqueues within a recording span."""

    def __init__(self, tracer: Any = None) -> None:
        """`tracer`: an OpenTelemetry tracer; None takes the one of the global provider."""
        from opentelemetry import trace

        self._tracer = tracer or trace.get_tracer("trunkline")

    async def __call__(self, job: Attempt, proceed: Callable[[], Awaitable[Any]]) -> Any:
        """Run the attempt in a span `process <queue>`; what it raises is recorded, unless it only asked to run later."""
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = job.options.get("traceparent")
        context = TraceContextTextMapPropagator().extract({"traceparent": parent}) if parent else None
        attributes = {
            **_attributes("process", job.queue, job.kind),
            "messaging.message.id": str(job.id),
            "trunkline.attempt": job.attempt,
            "trunkline.tenant_id": job.tenant_id,
        }
        self._received(job, context, attributes)
        with self._tracer.start_as_current_span(
            f"process {job.queue}",
            context=context,
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                return await proceed()
            except Exception as error:
                if not is_passing(error):
                    span.record_exception(error)
                    span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def _received(self, job: Attempt, context: Any, attributes: dict[str, str | int]) -> None:
        """The wait for a free slot of this process, which is over now."""
        from opentelemetry.trace import SpanKind

        now, waited_s = time.time_ns(), time.monotonic() - job.claimed_at
        if context is not None:  # of a trace; alone it would be one of its own
            self._tracer.start_span(
                f"receive {job.queue}",
                context=context,
                kind=SpanKind.CONSUMER,
                attributes={**attributes, "messaging.operation.type": "receive"},
                start_time=now - int(waited_s * 1e9),
            ).end(now)

    @contextmanager
    def sending(self, queue: str, kind: str) -> Iterator[None]:
        """A span `send <queue>` where one is recording; whoever is in no trace begins none by enqueuing, so that plain jobs stay plain."""
        from opentelemetry import trace

        if not trace.get_current_span().is_recording():
            yield
            return
        attributes = _attributes("send", queue, kind)
        with self._tracer.start_as_current_span(f"send {queue}", kind=trace.SpanKind.PRODUCER, attributes=attributes):
            yield


def _attributes(operation: str, queue: str, kind: str) -> dict[str, str | int]:
    return {
        "messaging.system": "trunkline",
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
        "trunkline.kind": kind,
    }
