import asyncio, time, pytest
from tests.flows.conftest import *
from trunkline import new_job
@pytest.mark.parametrize("n", range(12))
async def test_dbg(server, children, journal, server_verdict, n):
    for _ in range(2):
        children.worker(server.url, concurrency=50, retry_limit=1000)
    async with Trunkline(settings=Settings.load({}, database_url=server.url)) as app:
        sender = Sender(app, journal)
        bulk = [asyncio.create_task(sender.send_many([new_job("noop") for _ in range(1000)])) for _ in range(15)]
        single = asyncio.create_task(sender.send_each("effect", 5000, at_once=200))
        for k in range(3):
            await journal.wait_for("acked", 1000 * (k + 1), within_s=150)
            await server.crash()
            await server.start()
        t = time.monotonic()
        while not all(x.done() for x in [*bulk, single]):
            await asyncio.sleep(0.2)
            if time.monotonic() - t > 10:
                t = 1e12
                for task in asyncio.all_tasks():
                    task.print_stack()
                for x in asyncio.all_tasks():
                    c = x.get_coro()
                    chain = []
                    while c is not None and hasattr(c, "cr_await"):
                        chain.append(f"{c.cr_code.co_qualname}:{c.cr_frame.f_lineno if c.cr_frame else '?'}")
                        c = c.cr_await
                    print("CHAIN", " > ".join(chain), "|", repr(c)[:100])
