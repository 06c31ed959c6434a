"""Jobs over HTTP, end to end: put in, worked on, waited for."""

from __future__ import annotations

from trunkline import Trunkline


async def test_a_job_goes_in_over_http_is_worked_on_and_waited_for(app: Trunkline, user):
    """The whole way, on a real port."""
    await app.start_worker()
    made = await user.post("/api/jobs", json={"type": "echo", "payload": {"n": 1}})
    ended = await user.get(f"/api/jobs/{made.json()['id']}/wait", params={"timeout": 20})

    assert (201, "queued", "echo") == (made.status_code, made.json()["status"], made.json()["type"])
    assert 200 == ended.status_code
    assert {"status": "completed", "result": {"n": 1}, "attempts": 1}.items() <= ended.json().items()
