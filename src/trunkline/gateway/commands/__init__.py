"""The calls of the gateway dialect, one function each, whatever the transport: `(asked, call) -> answer`, or an exception of ours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from trunkline.gateway.commands.asked import Asked
from trunkline.gateway.commands.batches import send_batch, wait_for_batch
from trunkline.gateway.commands.look import cancel_job, get_job, get_queue_size
from trunkline.gateway.commands.schedules import list_schedules, schedule_job, unschedule_job
from trunkline.gateway.commands.send_job import send_job
from trunkline.gateway.commands.work import job_completed, job_failed, job_progress, job_started, register_worker, unregister_worker
from trunkline.wire.answers import Ok

Command = Callable[[Asked, Any], Awaitable[Ok]]
COMMANDS: dict[str, Command] = {
    each.__name__: each
    for each in (
        send_job,
        send_batch,
        wait_for_batch,
        schedule_job,
        unschedule_job,
        list_schedules,
        get_job,
        cancel_job,
        get_queue_size,
        register_worker,
        unregister_worker,
        job_started,
        job_progress,
        job_completed,
        job_failed,
    )
}

__all__ = ["COMMANDS", "Asked", "Command"]
