"""`trunkline retention`, and the room that `trunkline doctor` reports."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.conftest import Cli
from trunkline.cli.doctor import storage
from trunkline.store.history import Kept, Slice, Storage, TableSize

NOW = datetime(2027, 1, 31, tzinfo=UTC)
DAY = timedelta(days=1)


async def test_a_queue_is_given_a_retention_of_its_own(cli: Cli):
    """By state; what is left out stays, and `default` follows the installation again."""
    await cli("retention", "set", "mail", "--completed", "12h", "--failed", "30d")
    changed = await cli("retention", "set", "mail", "--failed", "default", "--json")
    listed = await cli("retention", "--json")

    assert {"queue": "mail", "completed": 43200, "failed": None, "cancelled": None} == changed.json
    assert {"retentionS": 2592000.0, "queues": [changed.json]} == listed.json
    assert "mail" in (await cli("retention", "list")).out


@pytest.mark.parametrize("wrong", [("--completed", "soon"), ("--failed", "5"), ()])
async def test_a_time_that_cannot_be_is_refused(cli: Cli, wrong: tuple[str, ...]):
    """With what is accepted."""
    answer = await cli("retention", "set", "mail", *wrong)

    assert answer.code in (1, 2)
    assert "need" in answer.sentence or "name at least one" in answer.sentence


async def test_the_doctor_reports_room_for_people_and_machines(cli: Cli):
    """Sizes, slices, retention, and what goes next."""
    await cli("retention", "set", "mail", "--completed", "12h")
    document = (await cli("doctor", "--json")).json
    findings = {each["check"]: each for each in document["findings"]}
    tables = {each["name"]: each for each in document["storage"]["tables"]}

    assert {"storage", "history", "retention", "next drop"} <= findings.keys()
    assert findings["retention"]["value"].endswith("default/mail completed 12 h")
    assert tables["job"]["partitions"] == len(document["storage"]["slices"]) >= 3
    assert [43200] == [each["completed"] for each in document["storage"]["queues"]]
    assert document["storage"]["nextDropAt"] > document["storage"]["slices"][0]["endsAt"]


def found(**slice_: object) -> Storage:
    """A storage of one slice, which ended 31 days ago."""
    one = Slice("_p1", NOW - 38 * DAY, NOW - 31 * DAY, None)._replace(**slice_)
    table = TableSize("job", 1, 2_000_000, 1_000_000, 10, 3, None)
    return Storage((table,), (), (one,), (Kept("default", "mail", 60, None, None),), None, None)


@pytest.mark.parametrize(
    ("slice_", "status", "said"),
    [
        ({"ends_at": NOW - 20 * DAY}, "ok", "on 2027-02-10"),
        ({}, "ok", "stays: a job in it is live"),
        ({"leaving_since": NOW - 0.01 * DAY}, "ok", "stays"),
        ({"leaving_since": NOW - DAY}, "warn", "has been leaving since"),
    ],
)
def test_the_next_drop_says_what_is_going_on(slice_: dict[str, object], status: str, said: str):
    """A slice that does not get away is worth a look."""
    finding = storage.next_drop(found(**slice_), 30 * 86400.0, NOW)

    assert status == finding.status
    assert said in finding.value
