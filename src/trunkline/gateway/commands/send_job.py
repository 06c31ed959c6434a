"""`send_job`: put one job in."""

from __future__ import annotations

from trunkline.errors import Forbidden
from trunkline.gateway.commands.asked import Asked
from trunkline.model import kind_name
from trunkline.wire import job_options, payload_text
from trunkline.wire.answers import Sent
from trunkline.wire.calls import JobOptions, SendJob


async def send_job(asked: Asked, call: SendJob) -> Sent:
    """The id of the job that stands for it; None when a live job holds its singletonKey."""
    principal, options = asked.principal, call.options or JobOptions()
    kind = kind_name(call.name)
    if kind in asked.reserved and principal.user_id is None and not principal.is_admin:
        raise Forbidden(f"jobs of kind {kind!r} are for users and for the scope 'admin'. Ask with such a token.")
    if options.user_id is not None and not principal.is_admin:
        raise Forbidden("options.userId needs the scope 'admin'. Leave it out, or ask with such a token.")
    given = {"user_id": principal.user_id, **job_options(options)}
    tenant = principal.tenant
    made = await asked.services.enqueue_checked(call.name, payload_text(call.data), tenant=tenant, **given)
    if made.created or options.singleton_key is None:
        return Sent(job_id=made.id)
    key = options.idempotency_key
    repeated = key is not None and made.id == await asked.services.idempotency_holder(kind, key, tenant=tenant)
    return Sent(job_id=made.id if repeated else None)
