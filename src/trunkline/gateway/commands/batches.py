"""`send_batch`, `wait_for_batch`: jobs sent together and awaited together."""

from __future__ import annotations

import asyncio
from typing import Any

from trunkline.errors import TrunklineError
from trunkline.gateway.commands.asked import Asked
from trunkline.model.payload import JsonText
from trunkline.wire import payload_text
from trunkline.wire.answers import BatchEnded, BatchSent
from trunkline.wire.calls import BatchJob, SendBatch, WaitForBatch

IN_A_ROW = 500  # jobs looked at before others have the loop


async def send_batch(asked: Asked, call: SendBatch) -> BatchSent:
    """All of them or none; of a job whose key was held the id of its holder, which is not counted."""
    jobs = []
    for at, job in enumerate(call.jobs):
        if at % IN_A_ROW == IN_A_ROW - 1:
            await asyncio.sleep(0)
        jobs.append(_given(asked, at, job))
    sent = await asked.services.batches.send(jobs, id=call.batch_id, tenant=asked.principal.tenant)
    return BatchSent(batch_id=sent.id, job_ids=[job.id for job in sent.jobs])


async def wait_for_batch(asked: Asked, call: WaitForBatch) -> BatchEnded:
    """Its counts: when every job has ended, or at the timeout."""
    return BatchEnded.of(await asked.waits.wait(asked.connection, call.batch_id, call.timeout_ms / 1000))


def _given(asked: Asked, at: int, job: BatchJob) -> tuple[str, JsonText | None, dict[str, Any]]:
    try:
        return job.name, payload_text(job.data), asked.options(job.name, job.options)
    except TrunklineError as error:
        raise type(error)(f"job {at} of the batch: {error}") from error
