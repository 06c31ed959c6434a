"""Hear of what is wrong: alerts, and how queues stand each minute.

python examples/alerts.py
"""

from __future__ import annotations

import asyncio

from trunkline import Alert, States, Trunkline

app = Trunkline(alert_interval_s=1, alert_least=5)  # looks each second, and takes five attempts for a rate
told = asyncio.Event()


@app.on("alert")
def page_somebody(alert: Alert) -> None:  # plain: it runs in a thread, so it may block, post to a chat, send a mail
    print(f"{alert.state}: {alert.message}")


@app.on("alert")
async def remember(alert: Alert) -> None:
    told.set()


@app.on("monitor-states")
async def chart(states: States) -> None:  # once a minute
    for name, queue in states.queues.items():
        print(name, queue.created, queue.active, queue.failed)


@app.job("send-mail", retry_limit=0)
async def send_mail(to: str) -> None:
    if to.endswith("@gone.example"):
        raise ConnectionError("no such host")


async def main() -> None:
    async with app:
        await app.start_worker()
        await app.enqueue_many([app.new_job("send-mail", {"to": f"{n}@{'gone' if n % 2 else 'good'}.example"}) for n in range(20)])
        await asyncio.wait_for(told.wait(), 30)
        await app.stop_worker()
        for alert in await app.alerts.list():
            print(f"{alert.name} {alert.tenant}/{alert.subject}: {alert.value:.0%}, over {alert.threshold:.0%}")


if __name__ == "__main__":
    asyncio.run(main())
