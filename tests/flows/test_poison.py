"""Jobs that no worker should survive badly: what one of them carries must not stop the others."""

from __future__ import annotations

import json

import asyncpg

from tests.flows.conftest import statements

POISON = [
    {"expires_at": "tomorrow"},
    {"expires_at": "2027-01-01T00:00:00"},
    {"expires_at": 5},
    {"timeout": "5"},
    {"retry_limit": "many"},
    {"retry_limit": 1e9},
    {"retry_delay": "soon"},
    {"retry_backoff": "perhaps"},
    {"retry_backoff": 7},
    {"unique_replace": "perhaps", "unique_key": "k"},
    {"dead_letter": 7},
    {"priority": 1.5},
    {"traceparent": 3},
    {"timeout": 1e-9},
    {"idempotency_window": "long", "idempotency_key": "k"},
]


async def test_options_that_sql_lets_in_stop_no_worker(sender, children, journal, trunkline_url, verdict):
    """Either the door refuses them, or the worker copes with them; jobs behind them run."""
    await children.worker(trunkline_url, concurrency=5, retry_limit=0).is_up()
    conn = await asyncpg.connect(trunkline_url)
    for options in POISON:
        try:
            journal.note("sent", await conn.fetchval("select trunkline.enqueue('noop', '{}', $1)", json.dumps(options)))
        except asyncpg.PostgresError as error:
            assert error.sqlstate.startswith("TL"), f"{options}: {error!r}"
    await conn.close()
    await sender.send_each("noop", 20)
    await sender.send_each("flaky", 5, {"fails": 1}, retry_limit=1)
    final = await verdict()

    assert 25 <= final.count("completed")


async def test_a_job_whose_failure_cannot_be_settled_stops_nobody(sender, children, journal, trunkline_url, verdict):
    """A row that makes `settle` raise, whatever the reason, is one job's trouble."""
    await children.worker(trunkline_url, concurrency=5).is_up()
    await statements(
        trunkline_url,
        """create function public.bad() returns trigger language plpgsql as $$
           begin if new.error ->> 'message' = 'not yet' and random() < 0.2 then raise exception 'a bug' using errcode = 'XX000'; end if; return new; end $$""",
        "create trigger bad before insert on trunkline.attempt for each row execute function public.bad()",
    )
    await sender.send_each("noop", 50)
    await sender.send_each("flaky", 30, {"fails": 1})
    await journal.wait_for("acked", 80)
    await sender.send_each("noop", 50)
    await journal.wait_for("acked", 130)
