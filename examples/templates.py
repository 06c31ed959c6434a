"""A job made by name, with its own fields over the template's: python examples/templates.py"""

from __future__ import annotations

import asyncio

from trunkline import Trunkline

app = Trunkline()


@app.job("report")
async def report(path: str, day: str = "today", pages: int = 10) -> str:
    return f"{path}, {day}, {pages} pages"


async def main() -> None:
    async with app:
        await app.start_worker()
        await app.templates.save("nightly", "report", {"path": "/all", "pages": 100}, priority=5, retry_limit=1)
        job_id = await app.enqueue(template="nightly", payload={"day": "2027-01-31"})
        print(await app.wait(job_id, timeout=30))


if __name__ == "__main__":
    asyncio.run(main())
