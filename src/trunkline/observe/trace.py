"""OpenTelemetry: the trace a job is enqueued in, and a span for each attempt. Without an SDK both cost next to nothing.

Called by: app (enqueue), and applications: `app.middleware(Tracing())`.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

PASSING = ("Snooze", "RetryAfter")  # said by a handler for whom nothing went wrong


class Attempt(Protocol):
    """What a span says of an attempt."""

    id: Any
    attempt: int
    queue: str
    tenant_id: int

    @property
    def kind(self) -> str:
        """The job type."""

    @property
    def options(self) -> dict[str, Any]:
        """Its options, with `traceparent`."""


def is_passing(error: BaseException) -> bool:
    """Whether it only asks to run later."""
    return any(kind.__name__ in PASSING for kind in type(error).__mro__)


def traceparent() -> str | None:
    """The W3C trace context of the span that is recording here; None: there is none, or nobody uses OpenTelemetry."""
    api = sys.modules.get("opentelemetry.trace")  # who has a span has loaded it
    if api is None:
        return None
    span = api.get_current_span()
    if not span.is_recording():
        return None
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}" if context.is_valid else None


class Tracing:
    """Middleware: a span for each attempt, in the trace that enqueued the job."""

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
        attributes: dict[str, str | int] = {
            "messaging.system": "trunkline",
            "messaging.operation.type": "process",
            "messaging.destination.name": job.queue,
            "messaging.message.id": str(job.id),
            "trunkline.kind": job.kind,
            "trunkline.attempt": job.attempt,
            "trunkline.tenant_id": job.tenant_id,
        }
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
