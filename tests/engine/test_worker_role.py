"""A worker and a producer without the owner's rights."""

from __future__ import annotations

import pytest

from trunkline import Job, Trunkline
from trunkline.store import Store


@pytest.fixture
async def plain_url(store: Store, trunkline_url: str):
    """The same database as a login role that is only a member of trunkline_worker."""
    await store.fetch(
        "do $$ begin create role trunkline_test_member login in role trunkline_worker; exception when duplicate_object or unique_violation then null; end $$"
    )
    yield trunkline_url.replace("//trunkline@", "//trunkline_test_member@")


async def test_a_member_of_the_worker_role_enqueues_works_and_waits(plain_url):
    """Everything goes through functions; COPY is refused to it, so bulk goes another way."""
    async with Trunkline(plain_url) as app:

        @app.job("k")
        async def handler(job: Job, n: int) -> int:
            return n + 1

        await app.start_worker()
        from trunkline import new_job

        many = await app.enqueue_many([new_job("k", {"n": n}) for n in range(300)])

        assert 300 == await app.wait(many[-1].id, timeout=30)
