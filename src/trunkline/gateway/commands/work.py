"""`register_worker`, `unregister_worker` and the reports of workers.

Always true: a report changes its job's place here before it waits for anything, so reports of one connection count in the
order in which they came.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from trunkline.engine.faults import fault
from trunkline.errors import InvalidPayload, LeaseLost
from trunkline.gateway.commands.asked import Asked
from trunkline.gateway.connection import Held
from trunkline.gateway.dispatcher import Ending
from trunkline.model.payload import encode
from trunkline.wire import payload_text
from trunkline.wire.answers import Failed, Ok
from trunkline.wire.calls import JobCompleted, JobFailed, JobProgress, JobStarted, RegisterWorker, UnregisterWorker, WorkerOptions

LONGEST = 4000  # characters of an error's message


async def register_worker(asked: Asked, call: RegisterWorker) -> Ok:
    """Be sent jobs of a name."""
    await asked.dispatcher.register(asked.connection, call.job_name, (call.options or WorkerOptions()).capacity)
    return Ok()


async def unregister_worker(asked: Asked, call: UnregisterWorker) -> Ok:
    """Be sent no more; a worker that was not registered is none now either."""
    asked.dispatcher.unregister(asked.connection, call.job_name)
    return Ok()


async def job_started(asked: Asked, call: JobStarted) -> Ok:
    """The handler runs now."""
    asked.dispatcher.started(_held(asked, call))
    return Ok()


async def job_progress(asked: Asked, call: JobProgress) -> Ok:
    """How far it is; the latest is written a few times a second."""
    held = _held(asked, call)
    value: dict[str, Any] = {"percentage": call.progress}
    if call.message is not None:
        value["message"] = call.message
    if (data := payload_text(call.data)) is not None:
        value["data"] = msgspec.Raw(encode(data, what="progress data", max_bytes=64 * 1024).encode())
    asked.dispatcher.progress(held, msgspec.json.encode(value).decode())
    return Ok()


async def job_completed(asked: Asked, call: JobCompleted) -> Ok:
    """It is done, once that is written."""
    held = _held(asked, call)
    text = payload_text(call.result)
    result = None if text is None else encode(text, what="result", max_bytes=asked.services.settings.result_max_bytes)
    _still_held(await asked.dispatcher.report(held, None, result), held)
    return Ok()


async def job_failed(asked: Asked, call: JobFailed) -> Failed:
    """This attempt failed; the kind's policy says what follows."""
    held = _held(asked, call)
    parts = _parts(payload_text(call.error) or '"failed"')
    ending = "fatal" if not call.retryable else "failed" if call.retry_after is None else "retry_after"
    ended = await asked.dispatcher.report(held, ending, fault(*parts), call.retry_after)
    if ended.what == "lost":
        raise _lost(held)
    run_at = None if ended.settled is None else ended.settled.run_at
    return Failed(will_retry=ended.what in ("ready", "deferred"), next_run_at=UNSET if run_at is None else run_at)


def _held(asked: Asked, call: JobStarted | JobProgress | JobCompleted | JobFailed) -> Held:
    return asked.dispatcher.find(asked.connection, call.job_id, call.attempt)


def _lost(held: Held) -> LeaseLost:
    return LeaseLost(
        f"job {held.job.id}: attempt {held.job.attempt} is no longer yours. Drop its result; give it more time (expireIn) if this repeats."
    )


def _still_held(ended: Ending, held: Held) -> None:
    if ended.what == "lost":
        raise _lost(held)
    if ended.what != "completed":
        raise InvalidPayload(f"job {held.job.id}: the database refused its result, so this attempt counts as failed.")


def _parts(said: str) -> tuple[str, str, str | None]:
    """(type, message, trace) of what a worker sent as its error: text, or an object like JavaScript's and ours."""
    value = msgspec.json.decode(str(said))  # msgspec takes str itself, no kind of it
    if isinstance(value, dict):
        name = value.get("name") or value.get("type") or value.get("code") or "Error"
        trace = value.get("stack") or value.get("traceback")
        return str(name)[:200], str(value.get("message") or "failed")[:LONGEST], str(trace) if trace else None
    return "Error", (value if isinstance(value, str) else said)[:LONGEST], None
