"""Encrypted kinds and remote workers: what they are told, what is kept, and what becomes of a job that this gateway has no key for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from cryptography.fernet import Fernet

from tests.support.until import until
from trunkline import Trunkline
from trunkline.engine.vault import is_sealed
from trunkline.settings import Settings
from trunkline.store import privacy

CARD = {"card": "4111"}


@pytest.fixture
async def app(request: pytest.FixtureRequest, trunkline_url: str) -> AsyncIterator[Trunkline]:
    """An application with a key, or (param False) without."""
    keys = Fernet.generate_key().decode() if getattr(request, "param", True) else None
    async with Trunkline(settings=Settings.load({}, database_url=trunkline_url, encryption_keys=keys, shutdown_timeout_s=5)) as app:
        yield app


async def stored(app: Trunkline, job_id: str) -> tuple[str, str | None]:
    """(payload, result) as they stand in the database."""
    row = await app.store.fetchrow(
        "select j.payload::text, o.result::text from trunkline.job as j left join trunkline.outcome as o on o.job_id = j.id where j.id = $1",
        job_id,
    )
    assert row is not None
    return row[0], row[1]


async def test_a_remote_worker_is_told_what_was_encrypted_and_its_result_is(app, join, worker):
    """Payload and result are sealed in the database and open for whoever the gateway lets in; retries and all."""
    await privacy.seal_kind(app.store, await app.tenant_id("customer-001"), "resize", 3)
    sender, remote = await join(), await worker()
    options = {"retryLimit": 1, "retryDelay": 0}
    job_id = (await sender.ok("send_job", name="resize", data=CARD, options=options))["jobId"]
    (first,) = await remote.pushed("work_request")
    await remote.ok("job_failed", jobName="resize", jobId=job_id, error="again")
    second = (await remote.pushed("work_request", 2))[1]
    await remote.ok("job_completed", jobName="resize", jobId=job_id, attempt=second["attempt"], result={"receipt": "1111"})
    payload, result = await stored(app, job_id)
    job = (await sender.ok("get_job", jobName="resize", jobId=job_id))["job"]

    assert (CARD, CARD, 2) == (first["data"], second["data"], second["attempt"])
    assert is_sealed(payload) and result is not None and is_sealed(result)
    assert ("completed", CARD, {"receipt": "1111"}) == (job["state"], job["data"], job["output"])


@pytest.mark.parametrize("app", [False], indirect=True)
async def test_a_result_that_must_be_encrypted_and_cannot_be_fails_its_job(app, join, worker):
    """The kind became encrypted, and this gateway has no key: the result is not kept plain, and the job does not hang until its deadline."""
    await privacy.seal_kind(app.store, await app.tenant_id("customer-001"), "resize", 2)
    sender, remote = await join(), await worker()
    job_id = (await sender.ok("send_job", name="resize", data=CARD, options={"retryLimit": 0}))["jobId"]
    await remote.pushed("work_request")
    answer = await remote.ask("job_completed", jobName="resize", jobId=job_id, attempt=1, result={"receipt": "1111"})

    async def is_over() -> bool:
        return (await app.get(job_id, tenant="customer-001")).is_terminal

    await until(is_over, "the job has ended")
    view = await app.get(job_id, tenant="customer-001")
    (told,) = await sender.pushed("job_failed")
    assert ("error", False) == (answer["status"], "receipt" in str(told))
    assert ("failed", True) == (view.state, "TRUNKLINE_ENCRYPTION_KEYS" in str(view.error))
    assert None is (await stored(app, job_id))[1]
