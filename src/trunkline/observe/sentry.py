"""Sentry: what handlers raise, once an attempt, when the database has decided whether that was the end of the job.

Always true: without a call of `report_to_sentry` nothing of sentry-sdk is imported; no payload is sent by us (stack frames have local
variables in them unless `sentry_sdk.init(include_local_variables=False)` says otherwise).
Called by: applications.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol


class Reportable(Protocol):
    """An application."""

    def middleware(self, function: Any) -> Any:
        """Put something around every attempt."""

    def on(self, event: str) -> Callable[[Any], Any]:
        """Tell a function of every event of a name."""


def report_to_sentry(app: Reportable, *, retries: bool = True) -> None:
    """Send what handlers of this application raise, with the breadcrumbs of the attempt. Call it beside `sentry_sdk.init`, before the worker starts.

    Tags: `trunkline.kind`, `trunkline.queue`, `trunkline.tenant_id`, `trunkline.attempt`, `trunkline.job_id`, and `trunkline.final`: "true" with
    level error when the job has failed for good, "false" with level warning when it runs again.

    Args:
        retries: False: only final failures.
    Raises:
        ModuleNotFoundError: sentry-sdk is not installed.
    """
    import sentry_sdk
    from sentry_sdk.scope import use_isolation_scope

    async def attempt(job: Any, proceed: Callable[[], Awaitable[Any]]) -> Any:
        with sentry_sdk.isolation_scope() as scope:
            scope.clear_breadcrumbs()  # of others
            scope.set_transaction_name(f"process {job.queue}")
            for name in ("kind", "queue", "tenant_id", "attempt"):
                scope.set_tag(f"trunkline.{name}", getattr(job, name))
            scope.set_tag("trunkline.job_id", str(job.id))
            try:
                return await proceed()
            except Exception as error:
                with suppress(AttributeError, TypeError):  # some take no attributes; then breadcrumbs and tags of the attempt are missing
                    error.trunkline_scope = scope  # type: ignore[attr-defined]
                raise

    def tell(event: Any) -> None:
        scope = getattr(event.error, "trunkline_scope", None) or sentry_sdk.Scope()
        with use_isolation_scope(scope), sentry_sdk.new_scope() as own:
            is_final = event.name == "failed"
            own.set_tag("trunkline.final", "true" if is_final else "false")
            own.set_level("error" if is_final else "warning")
            if event.error is not None:
                sentry_sdk.capture_exception(event.error)
            else:  # nobody raised: it took too long, or refused its payload
                own.set_tag("trunkline.kind", event.job.kind)
                own.set_tag("trunkline.job_id", str(event.job.id))
                sentry_sdk.capture_message(
                    f"{event.job.kind}: attempt {event.job.attempt} ended as {getattr(event.job, 'ending', event.name)}"
                )

    app.middleware(attempt)
    for name in ("failed", "retrying") if retries else ("failed",):
        app.on(name)(tell)
