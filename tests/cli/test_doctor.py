"""`trunkline doctor`: the judgement of each check, and the command on real databases."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.cli.conftest import Cli, ended
from tests.support.queue import Queue
from trunkline.cli.doctor import queue as of_queue
from trunkline.cli.doctor import server as of_server
from trunkline.cli.doctor.finding import Finding
from trunkline.errors import Unavailable
from trunkline.store import Store, inspect, lines
from trunkline.store.inspect import Pin, Server, SessionHealth, TableHealth
from trunkline.store.lines import StandingLine

SERVER = Server(18, "18.6", "jobs", "me", True, 7, timedelta(hours=1), False)
NOW = datetime(2027, 1, 1, tzinfo=UTC)
LINE = StandingLine("default", "images", 4, 90.0, 0, False)
SETTINGS = {"max_connections": "100", "superuser_reserved_connections": "3", "reserved_connections": "0"}


async def _findings(cli: Cli, **env: str) -> dict[str, dict[str, str]]:
    return {finding["check"]: finding for finding in (await cli("doctor", "--json", **env)).json["findings"]}


@pytest.mark.parametrize(
    ("finding", "status"),
    [
        (of_server.version(SERVER._replace(major=14)), "fail"),
        (of_server.version(SERVER._replace(major=15)), "ok"),
        (of_server.version(SERVER), "ok"),
        (of_server.version(SERVER._replace(major=19)), "warn"),
        (of_server.round_trip(0.0005), "ok"),
        (of_server.round_trip(0.05), "warn"),
        (of_server.clock(-0.2), "ok"),
        (of_server.clock(-60), "warn"),
        (of_server.clock(86_400), "fail"),
        (of_server.durability({"fsync": "off", "full_page_writes": "on"})[0], "fail"),
        (of_server.durability({"fsync": "on", "full_page_writes": "off"})[0], "fail"),
        (of_server.durability({"synchronous_commit": "off"})[1], "warn"),
        (of_server.durability({"synchronous_commit": "remote_apply"})[1], "ok"),
        (of_server.vacuum({"autovacuum": "off"}), "fail"),
        (of_server.wal({"wal_level": "minimal"}), "ok"),
        (of_server.connections(SETTINGS, 5, 20, 2, 10), "ok"),
        (of_server.connections(SETTINGS, 5, 90, 2, 10), "warn"),
        (of_server.connections(SETTINGS, 5, 20, 20, 10), "warn"),
        (of_server.transaction(None), "ok"),
        (of_server.transaction(Pin("transaction", "pid 7, psql, user me, idle in transaction", 5, 20.0)), "ok"),
        (of_server.transaction(Pin("transaction", "pid 7, psql, user me, idle in transaction", 5, 4000.0)), "warn"),
        (of_server.prepared(None), "ok"),
        (of_server.prepared(Pin("prepared", "order-7", 5, 4000.0)), "warn"),
        (of_server.slot(Pin("slot", "replica (active)", 10, None)), "ok"),
        (of_server.slot(Pin("slot", "replica (inactive)", 5_000_000, None)), "warn"),
        (of_queue.table(TableHealth("ready", 10, 20_000, 8192, NOW)), "ok"),
        (of_queue.table(TableHealth("ready", 10, 200_000, 8192, None)), "warn"),
        (of_queue.table(TableHealth("ready", 1_000_000, 200_000, 8192, None)), "ok"),
        (of_queue.partitions_until(None, NOW), "fail"),
        (of_queue.partitions_until(NOW + timedelta(hours=5), NOW), "fail"),
        (of_queue.partitions_until(NOW + timedelta(days=2), NOW), "warn"),
        (of_queue.partitions_until(NOW + timedelta(days=14), NOW), "ok"),
        (of_queue.processes_of([], has_ready=False), "ok"),
        (of_queue.processes_of([], has_ready=True), "warn"),
        (of_queue.processes_of([SessionHealth("a:1", True, False, 3)], has_ready=True), "ok"),
        (of_queue.processes_of([SessionHealth("a:1", False, False, 0)], has_ready=False), "ok"),
        (of_queue.processes_of([SessionHealth("a:1", False, False, 3)], has_ready=False), "warn"),
        (of_queue.standing([], is_worked_on=True), "ok"),
        (of_queue.standing([LINE], is_worked_on=True), "warn"),
        (of_queue.standing([LINE], is_worked_on=False), "ok"),  # another check says so
        (of_queue.kinds("kinds", [], "declare"), "ok"),
        (of_queue.kinds("kinds", [("default", "x", 1)], "declare"), "warn"),
        (of_queue.paused([("default", "x", NOW, 0)]), "ok"),
        (of_queue.paused([("default", "x", NOW, 3)]), "warn"),
        (of_queue.paused_beside_queues([("default", "kind", "x", 0)]), "ok"),
        (of_queue.paused_beside_queues([("default", "everything", "", 3)]), "warn"),
        (of_queue.dead(0, None), "ok"),
        (of_queue.dead(2, NOW), "warn"),
    ],
    ids=lambda value: f"{value.check}: {value.value}"[:60] if isinstance(value, Finding) else value,
)
def test_a_finding_is_judged_and_what_is_not_ok_says_what_to_do(finding: Finding, status: str):
    """Each threshold from both sides."""
    assert status == finding.status
    assert bool(finding.advice) == (status != "ok")


def test_advice_names_the_very_thing():
    """So that it can be pasted."""
    assert "pg_terminate_backend(7)" in of_server.transaction(Pin("transaction", "pid 7, psql, user me, idle", 5, 4000.0)).advice
    assert "pg_drop_replication_slot('old')" in of_server.slot(Pin("slot", "old (inactive)", 5_000_000, None)).advice
    assert "TRUNKLINE_POOL_MAX to 3" in of_server.connections(SETTINGS, 5, 20, 20, 10).advice
    assert "10,000 or more" in of_queue.dead(inspect.MOST, NOW).value


def test_a_line_without_anybody_is_told_from_one_that_is_too_long():
    """The first needs another worker, the second more of the same."""
    busy = LINE._replace(queue="mail", running=5)

    assert "to serve images: start one" in of_queue.standing([busy, LINE], is_worked_on=True).advice
    assert "More comes in than gets done" in of_queue.standing([busy], is_worked_on=True).advice
    assert "More comes in than gets done" in of_queue.standing([LINE._replace(has_sleeper=True)], is_worked_on=True).advice


async def test_the_doctor_names_queues_that_nobody_takes_from(queue: Queue, store: Store):
    """And neither paused ones nor those of a paused tenant; the first job's wait counts."""
    await queue.put()
    (line,) = await lines.standing(store, -60)
    await store.fetch("update trunkline.queue set paused_at = now() where tenant_id = $1", queue.tenant_id)

    assert (1, 0, False) == (line.jobs, line.running, line.has_sleeper)
    assert [] == await lines.standing(store, -60)
    assert [] == await lines.standing(store, 60)


async def test_a_calm_installation_has_nothing_to_fail_but_the_test_servers_fsync(cli: Cli, queue: Queue):
    """Every check is made; the test server is not durable on purpose, and that is found."""
    answer = await cli("doctor", "--json")
    findings = {finding["check"]: finding["status"] for finding in answer.json["findings"]}

    assert {"fsync": "fail", "synchronous_commit": "warn"} == {check: status for check, status in findings.items() if status != "ok"}
    assert (1, "fail") == (answer.code, answer.json["status"])
    assert {"server", "round trip", "clock", "signals", "schema", "roles", "partitions", "processes", "connections"} <= findings.keys()
    assert {f"table {name}" for name in inspect.LIVE_TABLES} <= findings.keys()


async def test_people_read_a_line_for_each_check_and_the_sum(cli: Cli, queue: Queue):
    """With the advice under its line."""
    answer = await cli("doctor")

    assert 1 == answer.code
    assert "fail  fsync" in answer.out and "set it on, then restart." in answer.out
    assert answer.out.rstrip().endswith("1 warn, 1 fail.")


async def test_what_waits_in_vain_is_found(cli: Cli, queue: Queue):
    """Misspelt kinds, kinds without handler, paused queues with jobs, dead letters, jobs of a process that died."""
    await ended(queue, "failed")
    await cli("enqueue", "wrok")
    await queue.put()
    await queue.settle(await queue.claim_one(), "no_handler", error=None, delay_s=60)
    await queue.put()
    await queue.claim_one(session_id=(gone := await queue.session()))
    await queue.store.fetch("update trunkline.session set expires_at = clock_timestamp() - interval '1 second' where session_id = $1", gone)
    await queue.put()
    await cli("queues", "pause", "work")
    findings = await _findings(cli)

    assert "default/wrok 1" == findings["undeclared kinds"]["value"]
    assert "default/work 1" == findings["jobs without handler"]["value"]
    assert findings["paused queues"]["value"].startswith("default/work 1 since ")
    assert findings["dead letters"]["value"].startswith("1, the oldest ")
    assert "1 process connected; 1 job held by processes that went away: another" == findings["processes"]["value"]
    assert {"warn"} == {
        findings[check]["status"] for check in ("undeclared kinds", "jobs without handler", "paused queues", "dead letters", "processes")
    }


async def test_pauses_of_kinds_keys_and_tenants_that_hold_jobs_back_are_found(cli: Cli, queue: Queue):
    """With what they hold back; one that holds nothing is counted."""
    await cli("limits", "pause", "--key", "k")
    await cli("limits", "pause", "--kind", "idle")
    await queue.put(limit_key="k")
    await queue.claim(10)
    await cli("limits", "pause", "--everything")
    await queue.put()
    finding = (await _findings(cli))["other pauses"]

    assert "default/everything 1, default/key k 1; 1 more pause without jobs" == finding["value"]
    assert "warn" == finding["status"] and "trunkline limits resume" in finding["advice"]


async def test_a_handler_for_every_tenant_declares_its_kind_for_all(cli: Cli, queue: Queue):
    """Its policy lies under tenant 0; jobs of that kind do not wait in vain."""
    await queue.store.fetch("select trunkline.declare_kind(null, 'shared', 3, 2, true, 3600, 0, 60, null)")
    await cli("enqueue", "shared", "--tenant", "acme")

    assert "ok" == (await _findings(cli))["undeclared kinds"]["status"]


async def test_what_holds_old_rows_back_is_found(cli: Cli, queue: Queue, trunkline_url: str):
    """An open transaction with its process number."""
    conn = await asyncpg.connect(trunkline_url, server_settings={"application_name": "forgotten"})
    transaction = conn.transaction(isolation="repeatable_read")
    await transaction.start()
    pid = await conn.fetchval("select pg_backend_pid()")
    pin = await inspect.oldest_pin(queue.store, "transaction")
    await transaction.rollback()
    await conn.close()

    assert pin is not None and pin.seconds is not None
    assert f"pid {pid}, forgotten, user trunkline, idle in transaction" == pin.who


async def test_a_moved_clock_is_found(cli: Cli, clock: Any, queue: Queue):
    """A test left it behind."""
    await clock.forward(3600)
    finding = (await _findings(cli))["queue clock"]

    assert ("warn", "trunkline.now() is 1 h apart from the server's clock") == (finding["status"], finding["value"])


async def test_a_missing_schema_fails_and_ends_the_questions_about_it(cli: Cli):
    """The server's own are still answered."""
    findings = await _findings(cli, TRUNKLINE_SCHEMA="absent")

    assert ("fail", "the schema 'absent' is not there. Run: trunkline migrate") == (
        findings["schema"]["status"],
        findings["schema"]["advice"],
    )
    assert "ok" == findings["server"]["status"] and "processes" not in findings


async def test_a_role_that_may_not_look_is_one_failure_and_not_eight(cli: Cli, queue: Queue, trunkline_url: str):
    """Nothing else can be said then; PostgreSQL's own roles are in every cluster."""
    findings = await _findings(cli, TRUNKLINE_DATABASE_URL=f"{trunkline_url}{'&' if '?' in trunkline_url else '?'}role=pg_read_all_stats")

    assert ("fail", "this role may not use trunkline") == (findings["schema"]["status"], findings["schema"]["value"])
    assert "Grant it trunkline_worker" in findings["schema"]["advice"]
    assert "processes" not in findings and "server" in findings


async def test_an_unreachable_database_is_the_only_finding(cli: Cli):
    """Without its password."""
    answer = await cli("doctor", "--json", TRUNKLINE_DATABASE_URL="postgresql://me:s3cret@127.0.0.1:1/none")

    assert 1 == answer.code and "s3cret" not in answer.out
    assert [("connection", "fail", "postgresql://me:***@127.0.0.1:1/none")] == [
        (finding["check"], finding["status"], finding["value"]) for finding in answer.json["findings"]
    ]
    assert "Nothing listens there: start PostgreSQL" in answer.json["findings"][0]["advice"]


async def test_a_check_that_cannot_be_made_becomes_a_line(cli: Cli, queue: Queue, monkeypatch: pytest.MonkeyPatch):
    """The others are made all the same."""

    async def away(_: Store) -> None:
        raise Unavailable("the database did not answer in time.")

    monkeypatch.setattr(inspect, "tables", away)
    findings = await _findings(cli)

    assert ("warn", "could not be looked at") == (findings["tables"]["status"], findings["tables"]["value"])
    assert "ok" == findings["partitions"]["status"]


async def test_a_signal_that_does_not_come_is_found(store: Store, trunkline_server_url: str):
    """A transaction-mode pooler loses LISTEN; here the listener is in another database, which hears as little."""
    deaf = await Store.connect(store.settings.model_copy(update={"listen_url": trunkline_server_url}))
    heard = await inspect.hear_itself(deaf, within_s=0.2), await inspect.hear_itself(store)
    await deaf.close()

    assert heard[0] is None and heard[1] is not None


def test_a_lost_signal_names_the_setting(monkeypatch: pytest.MonkeyPatch):
    """And says what it costs until then."""

    async def nothing(*_: object, **__: object) -> None:
        return None

    monkeypatch.setattr(inspect, "hear_itself", nothing)
    settings = type("S", (), {"listen_url": None, "is_pooled": False})
    finding = asyncio.run(of_server.listen(type("T", (), {"settings": settings})(), SERVER._replace(is_behind_pooler=True)))  # type: ignore[arg-type]

    assert "fail" == finding.status and "through a connection pooler" in finding.value
    assert "set TRUNKLINE_LISTEN_URL" in finding.advice
