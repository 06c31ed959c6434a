"""An order and its e-mail, both or neither: the job is enqueued in the transaction that writes the order.

python examples/outbox.py
"""

from __future__ import annotations

import asyncio

from trunkline import Trunkline

app = Trunkline()


@app.job("send-receipt")
async def send_receipt(order_id: int) -> dict[str, int]:
    return {"receipt_for": order_id}


async def main() -> None:
    async with app:
        await app.start_worker()
        async with app.store.connection() as conn:
            await conn.execute("create table if not exists orders (id int primary key generated always as identity, total numeric)")
            async with conn.transaction():
                order_id = await conn.fetchval("insert into orders (total) values (42) returning id")
                job_id = await app.enqueue("send-receipt", {"order_id": order_id}, connection=conn)
        print(await app.wait(job_id, timeout=30))


if __name__ == "__main__":
    asyncio.run(main())
