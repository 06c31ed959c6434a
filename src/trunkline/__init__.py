"""Trunkline: a PostgreSQL-native job platform.

    from trunkline import Job, Trunkline

    app = Trunkline()

    @app.job("resize")
    async def resize(job: Job, path: str) -> dict: ...

Names load on first use, so that importing a part of the package does not import all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trunkline.app import Trunkline
    from trunkline.engine import Alert, Enqueued, Job, JobEvent, States
    from trunkline.model import BatchView, Fail, JobView, NewJob, Policy, RetryAfter, ScheduleView, Snooze, TemplateView, new_job
    from trunkline.observe.metrics import Metrics
    from trunkline.observe.sentry import report_to_sentry
    from trunkline.observe.trace import Tracing

__all__ = [
    "Alert",
    "BatchView",
    "Enqueued",
    "Fail",
    "Job",
    "JobEvent",
    "JobView",
    "Metrics",
    "NewJob",
    "Policy",
    "RetryAfter",
    "ScheduleView",
    "Snooze",
    "States",
    "TemplateView",
    "Tracing",
    "Trunkline",
    "new_job",
    "report_to_sentry",
]

_HOMES = {
    "Trunkline": "trunkline.app",
    "Alert": "trunkline.engine",
    "Enqueued": "trunkline.engine",
    "Job": "trunkline.engine",
    "JobEvent": "trunkline.engine",
    "States": "trunkline.engine",
    "Metrics": "trunkline.observe.metrics",
    "Tracing": "trunkline.observe.trace",
    "report_to_sentry": "trunkline.observe.sentry",
    **dict.fromkeys(
        ("BatchView", "Fail", "JobView", "NewJob", "Policy", "RetryAfter", "ScheduleView", "Snooze", "TemplateView", "new_job"),
        "trunkline.model",
    ),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'trunkline' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
