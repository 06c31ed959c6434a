"""The client for programs without an event loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from trunkline.client import blocking
from trunkline.errors import InvalidInput, JobFailed, Unauthenticated, WaitTimeout


def everything(url: str, token: str) -> dict[str, object]:
    """What a plain program does, one call after the other."""
    seen: dict[str, object] = {}
    with blocking.connect(url, token, stop_timeout=5) as client:

        @client.worker("double", concurrency=2)
        def double(job, n: int):
            job.progress(50)
            if n < 0:
                raise ValueError("negative")
            return 2 * n

        worker = threading.Thread(target=client.work)
        worker.start()
        job_id = client.send("double", {"n": 4})
        seen["states"] = [update.state for update in client.watch(job_id)][-1]
        seen["result"] = client.wait(job_id, timeout=30)
        seen["many"] = [client.wait(each) for each in client.send_many([("double", {"n": n}) for n in range(3)])]
        batch = client.batch([("double", {"n": 1})])
        seen["batch"] = batch.wait(30).completed, batch.counts().done
        with pytest.raises(JobFailed, match="negative"):
            client.wait(client.send("double", {"n": -1}, retry_limit=0))
        with pytest.raises(WaitTimeout):
            client.wait(client.send("nobody"), timeout=0.05)
        client.schedule("nightly", "0 3 * * *")
        seen["schedules"] = [schedule.name for schedule in client.schedules()]
        client.unschedule("nightly")
        seen["get"] = client.get(job_id).state, client.cancel(job_id), client.queue_size("nobody")
        client.stop()
        worker.join(20)
        seen["worker"] = worker.is_alive()
    with pytest.raises(InvalidInput, match="not open"):
        client.send("double", {"n": 1})
    with pytest.raises(Unauthenticated), blocking.connect(url, "tl_wrong"):
        pass
    return seen


async def test_each_method_waits_for_its_answer(server, token):
    """From threads that have no loop; nothing of it is left behind."""
    before = threading.active_count()
    seen = await asyncio.to_thread(everything, f"ws://127.0.0.1:{server.port}", await token())

    assert {
        "states": "completed",
        "result": 8,
        "many": [0, 2, 4],
        "batch": (1, True),
        "schedules": ["nightly"],
        "get": ("completed", False, 1),
        "worker": False,
    } == seen
    assert [] == [thread.name for thread in threading.enumerate() if thread.name == "trunkline-client"]
    assert threading.active_count() <= before + 1
