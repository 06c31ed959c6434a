"""Who did what over a socket."""

from __future__ import annotations

from uuid import UUID

from tests.gateway.conftest import EVERYWHERE
from trunkline.audit import Audit


@EVERYWHERE
async def test_acts_over_a_socket_are_noted_and_jobs_are_not(app, join, token):
    """By the token that came; a job that a machine sends is a row of its own already, and pays for no other."""
    plain = await token("customer-9", "send", "work")
    client = await join(plain=plain)
    sent = [(await client.ok("send_job", name="resize", data={"secretly": n}))["jobId"] for n in range(2)]
    await client.ok("send_batch", jobs=[{"name": "resize", "data": 1}])
    for _ in range(2):
        await client.ok("cancel_job", jobName="resize", jobId=sent[0])
    await client.ok("schedule_job", name="resize", cronPattern="0 3 * * *", data={"secretly": 1})
    assert "error" == (await client.ask("schedule_job", name="resize", cronPattern="61 * * * *", data={}))["status"]
    for _ in range(2):
        await client.ok("unschedule_job", name="resize")
    found, _ = await Audit(app.store).list(await app.tenant_id("customer-9"))
    token_id = await app.store.fetchval("select token_id from trunkline.token where tenant_id = $1", await app.tenant_id("customer-9"))

    assert [f"job:{sent[0]}", "schedule:resize", "schedule:resize"] == [one.subject for one in found[::-1]]
    assert ["job.cancelled", "schedule.saved", "schedule.deleted"] == [one.act for one in found[::-1]]
    assert {("token", str(token_id), "socket", "127.0.0.1")} == {(one.actor_kind, one.actor, one.via, one.address) for one in found}
    assert UUID(sent[1]) and "secretly" not in str(found) and plain not in str(found)
