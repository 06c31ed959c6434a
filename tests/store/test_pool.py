"""Connections: what the server is told of them."""

from __future__ import annotations

TOLD = "select array_agg(name order by name) from pg_settings where name like 'tcp\\_%' and source = 'session'"


async def test_the_server_is_told_to_look_whether_we_are_still_there(store):
    """By default it would ask a dead machine's connection after two hours. A socket in the file system does not mind."""
    expected = ["tcp_keepalives_count", "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_user_timeout"]

    assert expected == await store.fetchval(TOLD)
    assert expected == (await store.fetch_kept(TOLD))[0][0]
