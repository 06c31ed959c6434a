"""An order that is paid, packed in three places and shipped, and a cleanup that runs whatever happens: python examples/dependencies.py

Uses TRUNKLINE_DATABASE_URL, or an embedded PostgreSQL in ./.trunkline (pip install "trunkline[embedded]").
"""

from __future__ import annotations

import asyncio
from typing import Any

from trunkline import Fail, Job, Trunkline, new_job
from trunkline.errors import JobCancelled

app = Trunkline()


@app.job("pay", retry_limit=0)
async def pay(order: int) -> dict[str, int]:
    if order == 13:
        raise Fail("the card was refused")
    return {"paid": 10 * order}


@app.job("pack")
async def pack(place: str) -> dict[str, str]:
    return {"parcel": f"from {place}"}


@app.job("ship")
async def ship(job: Job) -> list[str]:
    parcels = await job.parents()  # {id: (kind, state, result, error)}
    await job.spawn("tell", {"parcels": len(parcels)})  # runs when this job has completed
    return sorted(parcel.result["parcel"] for parcel in parcels.values())


@app.job("tell")
async def tell(parcels: int) -> str:
    return f"{parcels} parcels are on their way"


@app.job("close")
async def close(job: Job) -> list[str]:
    return sorted(f"{parent.kind} {parent.state}" for parent in (await job.parents()).values())


def order(number: int) -> list[Any]:
    places = [new_job("pack", {"place": place}) for place in ("Hamburg", "Oslo", "Porto")]
    return [new_job("pay", {"order": number}), places, new_job("ship"), new_job("close", on_parent_failure="run")]


async def main() -> None:
    async with app:
        await app.start_worker(concurrency=20)

        steps = await app.flows.chain(*order(7))  # each step waits for every job of the one before
        print(await app.wait(steps[2][0], timeout=30))
        print(await app.wait(steps[3][0], timeout=30))

        steps = await app.flows.chain(*order(13))
        try:
            await app.wait(steps[2][0], timeout=30)
        except JobCancelled as error:
            print(error)
        print(await app.wait(steps[3][0], timeout=30))

        # Any other graph: ids are known before anything is sent.
        first, second = new_job("pack", {"place": "Turin"}), new_job("pack", {"place": "Wien"})
        both = new_job("close", depends_on=[first.id, second.id])
        await app.flows.send([both, first, second])
        print(await app.wait(both.id, timeout=30))


if __name__ == "__main__":
    asyncio.run(main())
