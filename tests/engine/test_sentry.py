"""The real sentry-sdk with a transport that keeps what it is given."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.transport import Transport

from tests.support.until import until
from trunkline import Fail, Job, RetryAfter, report_to_sentry


@pytest.fixture
def sent() -> Iterator[list[Any]]:
    """Events that would have gone to Sentry."""
    kept: list[Any] = []

    class Keeping(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            kept.extend(event for item in envelope.items if (event := item.get_event()) is not None)

    with sentry_sdk.isolation_scope():
        sentry_sdk.init(dsn="https://key@localhost/1", transport=Keeping, auto_session_tracking=False, shutdown_timeout=0)
        yield kept
        sentry_sdk.get_client().close()
        sentry_sdk.get_global_scope().set_client(None)


async def test_what_a_handler_raises_arrives_once_an_attempt_with_its_job(app, sent):
    """Final and retried told apart; what only asks to run later is no error; threads too; a timeout without an exception."""
    report_to_sentry(app)

    @app.job("again", retry_limit=1, retry_delay=0)
    def again(job: Job) -> None:
        sentry_sdk.add_breadcrumb(message=f"attempt {job.attempt}")
        raise ValueError("no")

    @app.job("never")
    async def never() -> None:
        raise Fail("hopeless")

    @app.job("later")
    async def later(job: Job) -> None:
        if job.attempt == 1:
            raise RetryAfter(0, "busy")

    @app.job("slow", retry_limit=0, timeout=0.1)
    async def slow() -> None:
        await asyncio.sleep(60)

    await app.start_worker()
    ids = {kind: await app.enqueue(kind) for kind in ("again", "never", "later", "slow")}
    await asyncio.gather(*(app.wait_ended(job_id, 30) for job_id in ids.values()))
    await until(lambda: len(sent) >= 4, "four events")
    await app.stop_worker()

    def shown(event: Any) -> tuple[Any, ...]:
        tags = event["tags"]
        raised = event["exception"]["values"][-1]["type"] if "exception" in event else event["message"]
        return tags["trunkline.kind"], event["level"], tags["trunkline.final"], raised

    assert [
        ("again", "error", "true", "ValueError"),
        ("again", "warning", "false", "ValueError"),
        ("never", "error", "true", "Fail"),
        ("slow", "error", "true", "slow: attempt 1 ended as timed_out"),
    ] == sorted(map(shown, sent))
    assert {str(ids["again"]), str(ids["never"]), str(ids["slow"])} == {event["tags"]["trunkline.job_id"] for event in sent}
    crumbs = {
        each["tags"]["trunkline.attempt"]: [c["message"] for c in each["breadcrumbs"]["values"]]
        for each in sent
        if shown(each)[0] == "again"
    }
    assert {"attempt 1"} == set(crumbs[1]) and {"attempt 2"} == set(crumbs[2])


def test_without_the_hook_sentry_is_not_imported():
    """Also where it is installed."""
    program = "import sys, trunkline, trunkline.app; from trunkline import report_to_sentry; print('sentry_sdk' in sys.modules)"

    assert "False" == subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
