"""The SDK: send, wait, watch, schedule and work from any machine, with an address and a token (extra: trunkline[client]).

    async with trunkline.client.connect("wss://jobs.example.com", token) as client:
        job_id = await client.send("resize", {"path": "a.png"})
        result = await client.wait(job_id, timeout=30)

It speaks `/ws/raw` (docs/protocol.md) and never imports the server. Programs without an event loop: `trunkline.client.blocking`.
"""

try:
    import websockets  # noqa: F401 - so that its absence is a sentence
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "trunkline.client needs the package 'websockets'. Install it: pip install 'trunkline[client]'", name=error.name
    ) from None

from trunkline.client.batch import Batch
from trunkline.client.client import Client, connect
from trunkline.client.job import Job
from trunkline.client.watching import Update
from trunkline.model.endings import Fail, RetryAfter, Snooze

__all__ = ["Batch", "Client", "Fail", "Job", "RetryAfter", "Snooze", "Update", "connect"]
