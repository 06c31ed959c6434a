"""Connections: what the server is told of them."""

from __future__ import annotations

from tests.support.proxy import Proxy
from tests.support.until import until
from trunkline.settings import Settings
from trunkline.store import Store

TOLD = "select array_agg(name order by name) from pg_settings where name like 'tcp\\_%' and source = 'session'"


async def test_the_server_is_told_to_look_whether_we_are_still_there(store):
    """By default it would ask a dead machine's connection after two hours. A socket in the file system does not mind."""
    expected = ["tcp_keepalives_count", "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_user_timeout"]

    assert expected == await store.fetchval(TOLD)
    assert expected == (await store.fetch_kept(TOLD))[0][0]


async def test_a_database_that_is_away_costs_the_log_lines_and_no_tracebacks(trunkline_url, caplog):
    """The driver tries to keep its connections, too, and says so; through `logging`, where nobody expects forty lines of ours."""
    with Proxy(trunkline_url) as proxy:
        store = await Store.connect(Settings.load({}, database_url=proxy.url))
        proxy.refuse()
        proxy.cut_all()
        said = await until(lambda: [record for record in caplog.records if record.name == "asyncpg.pool"], "the driver's line")
        await store.close()

    assert not any(record.exc_info for record in said)
    assert "retrying: " in said[0].getMessage() and "\n" not in said[0].getMessage()
