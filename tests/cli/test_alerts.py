"""`trunkline alerts`, and what the doctor says of them."""

from __future__ import annotations

from tests.cli.conftest import Cli
from tests.support.queue import Queue
from trunkline.store import alerts
from trunkline.store.alerts import Tally


async def test_alerts_are_listed_for_people_and_machines(cli: Cli, queue: Queue):
    """With an exit status that a script can ask for; the doctor names them."""
    none = await cli("alerts")
    await alerts.note(queue.store, [Tally(queue.tenant_id, "work", 5, 15, 0, 1.0)])
    limits = {"dead_letters": 0, "failure_rate": 0.1, "retry_rate": 0, "stalled_s": 0, "slowdown": 0, "workers": 0, "least": 20}
    await alerts.watch(queue.store, queue.session_id, 1, limits)
    some, document = await cli("alerts"), await cli("alerts", "--all", "--json", "--tenant", "default")
    doctor = await cli("doctor")

    assert (0, "") == (none.code, none.out) and "No alert is raised." in none.err
    assert 1 == some.code and "failure_rate" in some.out and "75% of the jobs of queue default/work fail" in some.out
    (alert,) = document.json["alerts"]
    assert ("failure_rate", "alert", "default", "work", 0.75, 0.1) == tuple(
        alert[name] for name in ("name", "state", "tenant", "subject", "value", "threshold")
    )
    assert "failure_rate default/work" in doctor.out
