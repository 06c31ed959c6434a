"""The wall between tenants as a property: whatever two customers ask, about whatever ids, nothing of one reaches the other."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

from tests.gateway.conftest import Client
from trunkline.model.job import new_id

ROUNDS, AT_ONCE = 40, 6
NAMES = ("resize", "re_size", "re-size", "mail", "customer-001/resize", "*", "all-jobs")


class Customer:
    """Asks at random, and marks everything it says with its own name."""

    def __init__(self, name: str, client: Client, chance: random.Random, ids: list[str]) -> None:
        self.name, self.client, self.chance, self.ids = name, client, chance, ids
        self.own: set[str] = set()
        self.wrong: list[str] = []

    def call(self) -> tuple[str, dict[str, Any]]:
        chance, name = self.chance, self.chance.choice(NAMES[:4] if self.chance.random() < 0.8 else NAMES)
        job = {"jobName": name, "jobId": chance.choice(self.ids) if self.ids else str(new_id())}
        return chance.choice(
            [
                (
                    "send_job",
                    {"name": name, "data": {"of": self.name}, "options": {"singletonKey": "k", "idempotencyKey": str(chance.randrange(9))}},
                ),
                ("send_job", {"name": name, "data": {"of": self.name}, "options": {"retryDelay": 0}}),
                ("send_job", {"name": name, "data": {"of": self.name}, "options": {"id": job["jobId"]}}),
                (
                    "send_batch",
                    {"batchId": job["jobId"], "jobs": [{"name": name, "data": {"of": self.name}, "options": {"singletonKey": "b"}}]},
                ),
                ("wait_for_batch", {"batchId": job["jobId"], "timeoutMs": 0}),
                ("schedule_job", {"name": name, "cronPattern": "0 3 * * *", "data": {"of": self.name}}),
                ("unschedule_job", {"name": name}),
                ("list_schedules", {}),
                ("register_worker", {"jobName": name, "options": {"teamSize": chance.randint(1, 5)}}),
                ("unregister_worker", {"jobName": name}),
                ("get_job", job),
                ("cancel_job", job),
                ("get_queue_size", {"jobName": name, "before": chance.choice(["retry", "active", "completed"])}),
                ("job_started", job),
                ("job_progress", {**job, "progress": 5, "message": self.name}),
                ("job_completed", {**job, "result": {"of": self.name}}),
                ("job_failed", {**job, "error": self.name}),
            ]
        )

    async def round(self) -> None:
        calls = [self.call() for _ in range(AT_ONCE)]
        answered = list(zip(calls, await self.client.ask_many(calls), strict=True))
        sent = [answer["jobId"] for (call, _), answer in answered if call == "send_job" and answer.get("jobId")]
        sent += [each for (call, _), answer in answered if call == "send_batch" for each in answer.get("jobIds", ())]
        self.own.update(sent)  # first: calls of one frame are carried out at once, so a cancel may meet a job sent behind it
        self.ids += sent
        for (call, data), answer in answered:
            if call in ("send_job", "send_batch", "wait_for_batch", "schedule_job", "unschedule_job"):
                continue  # a batch's id is its tenant's own, as a job's is: who takes another's makes one of its own
            if call == "list_schedules":
                if foreign := [each for each in answer["schedules"] if each["data"] != {"of": self.name}]:
                    self.wrong.append(f"list_schedules showed {foreign}")
                continue
            if answer["status"] == "ok" and answer.get("job") is not None and answer["job"]["data"] != {"of": self.name}:
                self.wrong.append(f"{call} {data} showed {answer}")
            elif (
                answer["status"] == "ok"
                and data.get("jobId") not in {None, *self.own}
                and (answer.get("job") or call.startswith("job_") or call == "cancel_job")
            ):
                self.wrong.append(f"{call} {data} was carried out: {answer}")


async def test_whatever_is_asked_nothing_crosses(app, join):
    """Ids are known to both; the payloads, results and errors that each one sees are its own."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance, ids = random.Random(seed), list[str]()
    names = ("customer-001", "customer-002", "customer-003")
    customers = [Customer(name, await join(name), chance, ids) for name in names]
    for _ in range(ROUNDS):
        await asyncio.gather(*(customer.round() for customer in customers))

    for customer in customers:
        assert [] == customer.wrong
        said = json.dumps(customer.client.pushes)
        assert [] == [name for name in names if name != customer.name and f'"{name}"' in said]
        assert {push["id"] for push in customer.client.pushes.get("work_request", ())} <= customer.own


async def test_a_job_with_another_tenant_s_id_is_another_job(app, join, worker):
    """An id is known to more people than its tenant: who takes it for a job of their own reaches nothing by it."""
    mine, theirs = await worker(), await worker(tenant="customer-002")
    job_id = str(new_id())
    for client in (mine, theirs):
        await client.ok("send_job", name="resize", data={}, options={"id": job_id})
        await client.pushed("work_request")
        await client.ok("job_started", jobName="resize", jobId=job_id, attempt=1)
    reports = [mine.ask("job_progress", jobName="resize", jobId=job_id, progress=1, message="mine")]
    reports.append(theirs.ask("job_progress", jobName="resize", jobId=job_id, progress=2, message="theirs"))
    await asyncio.gather(*reports)
    assert (await theirs.ok("cancel_job", jobName="resize", jobId=job_id))["cancelled"]
    await theirs.pushed("cancel_request")
    await asyncio.gather(
        *(client.ok("job_completed", jobName="resize", jobId=job_id, result=result) for client, result in ((mine, 1), (theirs, 2)))
    )
    jobs = [await app.get(job_id, tenant=tenant) for tenant in ("customer-001", "customer-002")]

    assert "cancel_request" not in mine.pushes
    assert [("completed", 1, "mine"), ("completed", 2, "theirs")] == [(job.state, job.result, job.progress["message"]) for job in jobs]
