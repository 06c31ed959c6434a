"""The W3C trace context that a job carries: of the span that is recording here, or of the request or job that is being served.

Always true: nobody who does not use OpenTelemetry has it imported by this; a trace context that came from outside and is none is not kept.
Called by: app, engine, rest, client, observe.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_served: ContextVar[str | None] = ContextVar("trunkline_traceparent", default=None)


def traceparent() -> str | None:
    """The trace context of what happens here; None: there is none."""
    api = sys.modules.get("opentelemetry.trace")  # who has a span has loaded it
    if api is not None and (span := api.get_current_span()).is_recording():
        context = span.get_span_context()
        if context.is_valid:
            return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    return _served.get()


def checked(parent: object) -> str | None:
    """The text, where it is a trace context; else None."""
    return parent if isinstance(parent, str) and _FORM.fullmatch(parent) else None


@contextmanager
def continuing(parent: str | None) -> Iterator[None]:
    """Serve something that came with a trace context: jobs that are put in meanwhile carry it on, and so do OpenTelemetry's spans."""
    if (parent := checked(parent)) is None:
        yield
        return
    before = _served.set(parent)
    api = sys.modules.get("opentelemetry.trace")
    token = None
    if api is not None and not api.get_current_span().get_span_context().is_valid:
        from opentelemetry import context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        token = context.attach(TraceContextTextMapPropagator().extract({"traceparent": parent}))
    try:
        yield
    finally:
        if token is not None:
            context.detach(token)
        _served.reset(before)
