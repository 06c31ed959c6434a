"""What cannot be meant is refused with the value and what is accepted, before anything is written: a look for each verb."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from trunkline import Trunkline
from trunkline.errors import InvalidInput
from trunkline.model.job import new_id

NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001
JOB = new_id()
CASES = {
    "a tenant that is a number": (lambda app: app.enqueue("work", tenant=5), "tenant name 5: need 1 to 63 of A-Z"),
    "a tenant that is bytes": (lambda app: app.get(JOB, tenant=b"acme"), "tenant name b'acme': need 1 to 63 of A-Z"),
    "a moment without a time zone": (
        lambda app: app.reschedule(JOB, NAIVE),
        "run_at is datetime.datetime(2030, 1, 1, 0, 0): need a datetime",
    ),
    "a moment that is text": (lambda app: app.reschedule(JOB, "soon"), "run_at is 'soon': need a datetime with a time zone"),
    "less than nothing": (lambda app: app.redrive(limit=-1), "limit is -1: need an integer from 0 to 2,147,483,647"),
    "a queue that cannot be": (lambda app: app.redrive(queue="a/b"), "queue name 'a/b': need 1 to 200 characters"),
    "a kind that cannot be": (lambda app: app.redrive(kind="a/b"), "kind name 'a/b': need 1 to 200 characters"),
    "half a job": (lambda app: app.reprioritize([JOB, "x"], 5), "job id 'x': need a UUID"),
}


@pytest.mark.parametrize(("call", "said"), CASES.values(), ids=CASES)
async def test_a_verb_names_the_value_and_what_is_accepted(app: Trunkline, call, said):
    """Not the driver's words about an argument nobody knows."""
    with pytest.raises(InvalidInput) as refused:
        await call(app)

    assert said in str(refused.value)


async def test_the_priority_of_one_job_needs_no_list(app: Trunkline):
    """As everywhere else a job is named."""
    job_id = await app.enqueue("work", run_at=datetime(2100, 1, 1, tzinfo=UTC))

    assert (1, 1) == (await app.reprioritize(job_id, 7), await app.reprioritize(str(job_id), 8))
    async with app.acting("alice") as act:
        assert 1 == await act.reprioritize(job_id, 9)
    assert 9 == (await app.get(job_id)).priority
