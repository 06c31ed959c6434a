"""Act in somebody's name, and ask the log who did what.

Run it: python examples/who_did_it.py
"""

import asyncio

from trunkline import Trunkline
from trunkline.audit import Audit


async def main() -> None:
    async with Trunkline() as app:
        async with app.acting("alice", address="192.0.2.7") as act:
            job = await act.enqueue("report", {"month": "2027-01"})
            await act.schedules.create("monthly", "report", cron="0 3 1 * *")
        async with app.acting("bob") as act:
            await act.cancel(job.id, reason="ordered twice")
            await act.schedules.delete("monthly")

        acts, _ = await Audit(app.store).list(await app.tenant_id(None), limit=4)
        for one in acts[::-1]:
            print(one.actor, one.act, one.subject.partition(":")[0])


if __name__ == "__main__":
    asyncio.run(main())
