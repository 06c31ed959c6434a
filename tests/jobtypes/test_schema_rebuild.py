"""The handler of `schema-rebuild`, from payload to result."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from tests.jobtypes.support import PASSWORD, Database, RecordingJob
from trunkline.connections import SchemaCache
from trunkline.connections.failures import ConnectionFailed
from trunkline.errors import LeaseLost
from trunkline.jobtypes import BUILT_IN, schema_rebuild
from trunkline.jobtypes.schema_rebuild import SchemaRebuild, rebuild
from trunkline.model import Fail
from trunkline.store import Store

SHOP = SchemaRebuild(connection_id="shop")
FORCED = SchemaRebuild(connection_id="shop", force=True)


@pytest.fixture
def register_url(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a URL behind the id `shop`."""
    return lambda url: monkeypatch.setenv("TRUNKLINE_CONNECTION_SHOP", url)


@pytest.fixture
def small(database: Database, register_url: Callable[[str], None]) -> Database:
    """Three tables and a view behind `shop`."""
    database.execute(
        f"create schema sales authorization {database.role}",
        "create table sales.customer (id int primary key)",
        "create table sales.orders (id int primary key, customer_id int references sales.customer)",
        "create table sales.note (id int)",
        "create view sales.names as select id from sales.customer",
    )
    register_url(database.url)
    return database


def test_the_payload_may_be_camel_case_or_snake_case() -> None:
    assert (
        SchemaRebuild(connection_id="shop", user_id="u1", force=True)
        == SchemaRebuild.model_validate({"connectionId": "shop", "userId": "u1", "force": True, "other": 1})
        == SchemaRebuild.model_validate({"connection_id": "shop", "user_id": "u1", "force": True})
    )


@pytest.mark.parametrize("payload", [{}, {"connectionId": 7}, {"connectionId": ["shop"]}, {"connectionId": "shop", "force": "maybe"}])
def test_a_payload_of_another_form_is_refused_and_not_repeated(payload: dict[str, Any]) -> None:
    """It may hold anything, a password too."""
    with pytest.raises(ValidationError) as refused:
        SchemaRebuild.model_validate(payload | {"userId": {"password": PASSWORD}})

    assert PASSWORD not in str(refused.value)


async def test_the_result_is_small_and_says_what_was_found(
    job: RecordingJob, shop_url: str, store: Store, register_url: Callable[[str], None]
) -> None:
    register_url(shop_url)

    result = await rebuild(job, SHOP, SchemaCache(store))

    assert 2000 > len(json.dumps(result))
    assert 64 == len(result.pop("fingerprint"))
    assert 0 <= result.pop("durationMs")
    assert {
        "success": True,
        "changed": True,
        "stored": True,
        "dialect": "postgresql",
        "totalSchemas": 7,
        "totalTables": 43,
        "totalViews": 5,
        "totalColumns": 212,
        "hiddenSchemas": 0,
        "unreadable": 0,
        "schemas": ["billing", "catalog", "hr", "logistics", "public", "sales", "support"],
    } == result


async def test_the_whole_schema_is_stored_for_the_jobs_tenant_only(
    job: RecordingJob, shop_url: str, store: Store, register_url: Callable[[str], None]
) -> None:
    register_url(shop_url)
    job.tenant_id = 42

    result = await rebuild(job, SHOP, SchemaCache(store))

    stored = await SchemaCache(store).get(42, "shop")
    assert stored is not None
    assert (result["fingerprint"], 43) == (stored.fingerprint, stored.tables)
    assert 48 == len(json.loads(stored.schema)["tables"])
    assert await SchemaCache(store).get(1, "shop") is None


async def test_progress_goes_from_25_through_every_table_to_100(job: RecordingJob, small: Database, store: Store) -> None:
    await rebuild(job, SHOP, SchemaCache(store))

    assert [
        (25, "Validating connection...", 1, 4),
        (50, "Fetching schema metadata...", 2, 4),
        (56.25, "Processing table: sales.customer", 1, 4),
        (62.5, "Processing table: sales.note", 2, 4),
        (68.75, "Processing table: sales.orders", 3, 4),
        (75, "Processing table: sales.names", 4, 4),
        (75, "Processing schema data...", 3, 4),
        (100, "Schema rebuild completed", 4, 4),
    ] == job.said


async def test_many_tables_are_told_in_steps_and_the_last_one_always(
    job: RecordingJob, small: Database, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty thousand tables are no reason for fifty thousand writes."""
    monkeypatch.setattr(schema_rebuild, "MOST_TABLE_REPORTS", 2)

    await rebuild(job, SHOP, SchemaCache(store))

    assert [3, 4] == [current for _, message, current, _ in job.said if message and "table:" in message]


async def test_an_unchanged_schema_is_not_stored_again(job: RecordingJob, small: Database, store: Store) -> None:
    """Only the time of the last look moves."""
    cache = SchemaCache(store)
    first = await rebuild(job, SHOP, cache)
    before = await cache.get(1, "shop")

    second = await rebuild(job, SHOP, cache)
    after = await cache.get(1, "shop")

    assert (True, True, False, False) == (first["changed"], first["stored"], second["changed"], second["stored"])
    assert first["fingerprint"] == second["fingerprint"]
    assert before is not None and after is not None
    assert before.captured_at == after.captured_at
    assert before.checked_at < after.checked_at


async def test_force_stores_an_unchanged_schema(job: RecordingJob, small: Database, store: Store) -> None:
    cache = SchemaCache(store)
    await rebuild(job, SHOP, cache)
    before = await cache.get(1, "shop")

    result = await rebuild(job, FORCED, cache)
    after = await cache.get(1, "shop")

    assert (False, True) == (result["changed"], result["stored"])
    assert before is not None and after is not None
    assert before.captured_at < after.captured_at


async def test_a_changed_schema_is_stored(job: RecordingJob, small: Database, store: Store) -> None:
    cache = SchemaCache(store)
    first = await rebuild(job, SHOP, cache)
    small.execute("alter table sales.note add column body text")

    second = await rebuild(job, SHOP, cache)
    stored = await cache.get(1, "shop")

    assert (True, True) == (second["changed"], second["stored"])
    assert stored is not None
    assert second["fingerprint"] == stored.fingerprint != first["fingerprint"]


async def test_an_unknown_connection_is_final_and_names_the_variable(job: RecordingJob, store: Store) -> None:
    with pytest.raises(Fail, match="TRUNKLINE_CONNECTION_NOWHERE is not set"):
        await rebuild(job, SchemaRebuild(connection_id="nowhere"), SchemaCache(store))


async def test_a_url_as_connection_id_is_final_and_not_repeated(job: RecordingJob, store: Store) -> None:
    payload = SchemaRebuild(connection_id=f"postgresql://clerk:{PASSWORD}@h/d")

    with pytest.raises(Fail, match="looks like a database URL") as ended:
        await rebuild(job, payload, SchemaCache(store))

    assert PASSWORD not in str(ended.value)


async def test_a_wrong_password_is_final_and_never_shown(
    job: RecordingJob, database: Database, store: Store, register_url: Callable[[str], None]
) -> None:
    register_url(database.url.replace(PASSWORD, "Qx9-wrong"))

    with pytest.raises(Fail, match="the user or the password is wrong") as ended:
        await rebuild(job, SHOP, SchemaCache(store))

    assert "Qx9-wrong" not in str(ended.value)
    assert "Qx9-wrong" not in str(job.said)


async def test_an_unreachable_server_may_be_tried_again(job: RecordingJob, store: Store, register_url: Callable[[str], None]) -> None:
    register_url(f"postgresql://clerk:{PASSWORD}@no-such-host.invalid/shop")

    with pytest.raises(ConnectionFailed, match="it cannot be reached"):
        await rebuild(job, SHOP, SchemaCache(store))


async def test_a_cancelled_job_stops_between_tables_and_stores_nothing(job: RecordingJob, small: Database, store: Store) -> None:
    job.on_progress = lambda it: setattr(it, "cancelled", "customer" in str(it.said[-1][1]))

    with pytest.raises(asyncio.CancelledError):
        await rebuild(job, SHOP, SchemaCache(store))

    assert "Processing table: sales.customer" == job.said[-1][1]
    assert await SchemaCache(store).get(1, "shop") is None


async def test_a_lost_lease_is_not_taken_for_a_failed_reading(job: RecordingJob, small: Database, store: Store) -> None:
    def lost(it: RecordingJob) -> None:
        if it.said[-1][0] > 50:
            raise LeaseLost("no longer yours")

    job.on_progress = lost

    with pytest.raises(LeaseLost):
        await rebuild(job, SHOP, SchemaCache(store))


async def test_without_the_extra_the_job_says_what_to_install(
    job: RecordingJob, small: Database, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "trunkline.jobtypes.schema.reader", raising=False)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)

    with pytest.raises(Fail, match=r"needs the package sqlalchemy. Install trunkline\[schema\]"):
        await rebuild(job, SHOP, SchemaCache(store))


def test_it_is_built_in_with_the_documented_policy() -> None:
    declared: dict[str, dict[str, Any]] = {}

    class App:
        store = settings = connections = None

        def job(self, kind: str, **policy: Any) -> Callable[[Any], Any]:
            declared[kind] = policy
            return lambda handler: handler

    for register in BUILT_IN:
        register(App())

    assert {"tenants": "all", "retry_limit": 3, "retry_delay": 60, "retry_backoff": True, "timeout": 86400} == declared["schema-rebuild"]


def test_job_types_load_without_any_extra() -> None:
    """A worker without `trunkline[schema]` still starts."""
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('sqlalchemy', 'psycopg', 'pymysql', 'pyarrow', 'openpyxl', 'phonenumbers', 'email_validator', 'openai', 'jinja2')));"
        "from trunkline.jobtypes import BUILT_IN; print(len(BUILT_IN) > 1)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert ("True\n", "") == (done.stdout, done.stderr)
