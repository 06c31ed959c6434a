"""Where features meet, as applications use them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.engine.test_privacy import application, charging, sealed_kind
from trunkline import Trunkline, new_job
from trunkline.errors import NotReadable
from trunkline.model.family import after, parents_first
from trunkline.settings import Settings
from trunkline.store import schedules

HOUR = 3600


async def test_a_schedule_for_one_moment_waits_for_a_quota(app, duty, clock):
    """It has no next time: whoever refuses it, refuses it for ever."""
    at = await schedules.now(app.store) + timedelta(hours=1)
    await app.schedules.create("s", "work", at=at)
    await duty.round()
    await app.limits.quota(queued=1)
    await app.enqueue("other")
    await clock.forward(HOUR + 1)
    await duty.round()
    refused = await app.schedules.get("s")
    await app.limits.quota(queued=10)
    await duty.round()
    (firing,) = await app.schedules.firings("s")
    job = await app.get(firing.job_id)

    assert ("active", True) == (refused.state, "1 jobs queued" in refused.error)
    assert (at, "queued") == (firing.due_at, job.state)
    assert None is (await app.schedules.get("s")).error


async def test_firings_that_were_missed_are_let_in_by_a_rate_together(app, duty, clock):
    """They are one transaction; refused in its middle, all of them would be lost."""
    await app.schedules.create("s", "work", every=HOUR, missed="all")
    await duty.round()
    await app.limits.quota(rate=1)
    await clock.forward(5 * HOUR + 1)
    await duty.round()

    assert 5 == len(await app.schedules.firings("s"))


def test_jobs_that_stand_behind_their_parents_keep_their_order():
    """They may be of one ordering key."""
    a, c = new_job("work"), new_job("work")
    b = after(new_job("work"), [a.id])

    assert [0, 1, 2] == parents_first([a, b, c])


async def test_fields_are_merged_into_an_encrypted_template_by_who_has_the_key(trunkline_url):
    """Whoever has not is refused. What comes encrypted itself takes the whole place."""
    async with application(trunkline_url) as app:
        charging(app)
        await sealed_kind(app)
        card = await app.privacy.seal("charge", {"card": "4111"})
        await app.templates.save("card", "charge", card)
        async with Trunkline(settings=Settings.load({}, database_url=trunkline_url)) as keyless:
            with pytest.raises(NotReadable, match="no key"):
                await keyless.enqueue(template="card", payload={"a": 1})
        merged = await app.enqueue(template="card", payload={"a": 1})
        job_id = await app.enqueue(template="card", payload=await app.privacy.seal("charge", {"card": "4222"}))

        assert {"card": "4111", "a": 1} == (await app.get(merged)).payload
        assert {"card": "4222"} == (await app.get(job_id)).payload
