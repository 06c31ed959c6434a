"""A job every second, made by whichever worker process comes first: python examples/schedules.py

In life the rule is a cron expression: @app.schedule("0 3 * * MON-FRI", tz="Europe/Berlin").
"""

from __future__ import annotations

import asyncio

from trunkline import Job, Trunkline

app = Trunkline()
fired = asyncio.Event()


@app.schedule(every=1, name="pulse", payload={"text": "tick"}, missed="skip")
@app.job("say")
async def say(job: Job, text: str) -> None:
    print(f"{text}, due at {job.scheduled_for}")
    fired.set()


async def main() -> None:
    async with app:
        await app.start_worker()
        for time in await app.schedules.next("pulse", 3):
            print(f"will fire at {time}")
        await asyncio.wait_for(fired.wait(), 30)
        await app.schedules.delete("pulse")


if __name__ == "__main__":
    asyncio.run(main())
