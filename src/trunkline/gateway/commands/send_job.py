"""`send_job`: put one job in."""

from __future__ import annotations

from trunkline.gateway.commands.asked import Asked
from trunkline.model import kind_name
from trunkline.wire import payload_text
from trunkline.wire.answers import Sent
from trunkline.wire.calls import JobOptions, SendJob


async def send_job(asked: Asked, call: SendJob) -> Sent:
    """The id of the job that stands for it; None when a live job holds its singletonKey."""
    tenant, options = asked.principal.tenant, call.options or JobOptions()
    given = asked.options(call.name, options)
    made = await asked.services.enqueue_checked(call.name, payload_text(call.data), tenant=tenant, **given)
    if made.created or options.singleton_key is None:
        return Sent(job_id=made.id)
    key = options.idempotency_key
    repeated = key is not None and made.id == await asked.services.idempotency_holder(kind_name(call.name), key, tenant=tenant)
    return Sent(job_id=made.id if repeated else None)
