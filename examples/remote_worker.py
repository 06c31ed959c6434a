"""A worker on another machine: an address and a token, no database. The other side is `trunkline gateway`."""

import asyncio
import os

import trunkline.client

client = trunkline.client.connect(os.environ["TRUNKLINE_GATEWAY"], os.environ["TRUNKLINE_TOKEN"])


@client.worker("resize", concurrency=4)
async def resize(job: trunkline.client.Job, path: str) -> dict[str, object]:
    await job.progress(50, "halfway")
    print(f"{path} resized, attempt {job.attempt}", flush=True)
    return {"path": path, "ok": True}


asyncio.run(client.work())
