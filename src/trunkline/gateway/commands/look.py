"""`get_job`, `cancel_job`, `get_queue_size`: what senders ask about their jobs."""

from __future__ import annotations

import time

from trunkline.errors import NotFound
from trunkline.gateway.commands.asked import Asked
from trunkline.model import kind_name
from trunkline.wire.answers import Cancelled, Found, Job, QueueSize
from trunkline.wire.calls import CancelJob, GetJob, GetQueueSize

HISTORY_S = 5.0  # counts that reach into history are this old at the most
MOST_SIZES = 1000


async def get_job(asked: Asked, call: GetJob) -> Found:
    """Where a job stands."""
    try:
        found = await asked.job(call.job_name, call.job_id)
    except NotFound:
        return Found(job=None)
    return Found(job=Job.of(found, call.job_name or found.kind))


async def cancel_job(asked: Asked, call: CancelJob) -> Cancelled:
    """End a job; a running one is asked to."""
    await asked.job(call.job_name, call.job_id)
    async with asked.acting() as act:
        return Cancelled(cancelled=await act.cancel(call.job_id, tenant=asked.principal.tenant))


async def get_queue_size(asked: Asked, call: GetQueueSize) -> QueueSize:
    """Jobs in states before `before`."""
    queue, principal = kind_name(call.job_name), asked.principal
    if call.before in ("retry", "active", "completed"):
        return QueueSize(queue_size=await asked.services.queue_size(queue, call.before, tenant=principal.tenant))
    key, now = (principal.tenant_id, queue, call.before), time.monotonic()
    at, size = asked.sizes.get(key, (float("-inf"), 0))
    if now - at > HISTORY_S:
        size = await asked.services.queue_size(queue, call.before, tenant=principal.tenant)
        if len(asked.sizes) >= MOST_SIZES:
            asked.sizes.clear()
        asked.sizes[key] = (now, size)
    return QueueSize(queue_size=size)
