"""Prometheus: how many attempts ended how, and how long they took. Labels are kind and queue, so their number is bounded by code.

Called by: applications: `app.middleware(Metrics(registry))`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from trunkline.observe.trace import is_passing

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

LABELS = ("kind", "queue")
BUCKETS = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)  # seconds


class Attempt(Protocol):
    """What is counted of an attempt."""

    queue: str

    @property
    def kind(self) -> str:
        """The job type."""


class Metrics:
    """Middleware: trunkline_jobs_completed_total, trunkline_jobs_failed_total (attempts that raised) and
    trunkline_job_duration_seconds (the attempt, with the middleware inside this one)."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """`registry`: where the metrics are kept; None: the global one. One `Metrics` per registry."""
        from prometheus_client import REGISTRY, Counter, Histogram

        self.registry = kept = REGISTRY if registry is None else registry
        self.completed = Counter("trunkline_jobs_completed", "Attempts whose handler returned.", LABELS, registry=kept)
        self.failed = Counter("trunkline_jobs_failed", "Attempts whose handler raised.", LABELS, registry=kept)
        self.duration = Histogram("trunkline_job_duration_seconds", "Seconds of an attempt.", LABELS, registry=kept, buckets=BUCKETS)

    async def __call__(self, job: Attempt, proceed: Callable[[], Awaitable[Any]]) -> Any:
        """Run the attempt and count it. One that asked to run later (Snooze, RetryAfter) or was cancelled is timed and not counted."""
        began = time.perf_counter()
        try:
            result = await proceed()
        except asyncio.CancelledError:
            if getattr(job, "stop_reason", None) == "timed_out":
                self.failed.labels(job.kind, job.queue).inc()
            raise
        except Exception as error:
            if not is_passing(error):
                self.failed.labels(job.kind, job.queue).inc()
            raise
        else:
            self.completed.labels(job.kind, job.queue).inc()
            return result
        finally:
            self.duration.labels(job.kind, job.queue).observe(time.perf_counter() - began)

    def ended(self, kind: str, queue: str, is_completed: bool, seconds: float) -> None:
        """Count an attempt that was made elsewhere, by a remote worker."""
        (self.completed if is_completed else self.failed).labels(kind, queue).inc()
        self.duration.labels(kind, queue).observe(seconds)
