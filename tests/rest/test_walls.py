"""Walls between tenants and users: swept over every route that the OpenAPI document has, and under every query that forgets."""

from __future__ import annotations

import json
from uuid import uuid4

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from trunkline import Trunkline
from trunkline.sql import render
from trunkline.store import pages
from trunkline.store.reader import BEGIN, WALL, Reader

pytestmark = pytest.mark.asyncio(loop_scope="package")
# What stands in a path, and whether it may be a user's own (else it is the tenant's).
KNOWN = {"job_id", "name", "token_id", "connection_id"}
OF_ALL_USERS = [("GET", ""), ("GET", "/schema"), ("POST", "/rebuild")]  # of a connection of their tenant


def routes(document) -> list[tuple[str, str]]:
    """(method, path) of every route with something in its path."""
    return [(method.upper(), path) for path, methods in document["paths"].items() for method in methods if "{" in path]


async def snapshot(admin, user, things) -> str:
    """All that could have been changed."""
    answers = [
        await user.get(f"/api/jobs/{things['jobs']}", params={"detail": "true"}),
        *[
            await admin.get(f"/api/{path}")
            for path in (
                "schedules/nightly",
                "templates/thumb",
                f"tokens/{things['tokens']}",
                f"connections/{things['connections']}",
                "queues",
            )
        ],
    ]
    return json.dumps([one.json() for one in answers])


async def test_no_route_reaches_what_is_anothers(user, other, stranger, admin, ask, things):
    """Another tenant's administrator, another user of the tenant, nobody: each is told what is told of things that are not there."""
    document = (await user.get("/api/openapi.json")).json()
    swept = routes(document)
    before = await snapshot(admin, user, things)
    assert len(swept) >= 21
    for method, path in swept:
        resource, parameter = path.split("/")[2], path[path.index("{") + 1 : path.index("}")]
        assert parameter in KNOWN and resource in things, f"{path}: teach the sweep what this is"
        there, absent = things[resource], str(uuid4()) if parameter != "name" else "not-there"
        for name, client in (("stranger", stranger), ("other user", other), ("nobody", ask())):
            if name == "other user" and resource == "connections" and (method, path.partition("}")[2]) in OF_ALL_USERS:
                continue
            got = await client.request(method, path.replace(f"{{{parameter}}}", there), params={"timeout": 0})
            missing = await client.request(method, path.replace(f"{{{parameter}}}", absent), params={"timeout": 0})

            allowed = {"nobody": {401}, "stranger": {404}, "other user": {404, 403}}[name]
            assert got.status_code in allowed, (name, method, path, got.text)
            assert got.status_code == missing.status_code
            assert got.text.replace(there, "?") == missing.text.replace(absent, "?"), (name, method, path)
    assert before == await snapshot(admin, user, things)


async def test_lists_hold_nothing_of_others(user, other, stranger, things):
    """Lists, and acts by filter."""
    lists = ["/api/jobs", "/api/jobs?status=queued", "/api/jobs?type=echo", "/api/dead-letters"]
    admins = ["/api/connections", "/api/schedules", "/api/templates", "/api/queues", "/api/audit"]
    found = [(path, await other.get(path)) for path in lists] + [(path, await stranger.get(path)) for path in (*lists, *admins)]

    assert {path: [] for path, _ in found} == {path: one.json()["data"] for path, one in found}
    for client in (other, stranger):
        for verb in ("cancel", "retry"):
            answer = await client.post(f"/api/jobs/bulk/{verb}", json={"filter": {"ids": [things["jobs"]]}})
            assert {"count": 0, "more": False} == answer.json()
    assert {"count": 0, "more": False} == (await stranger.post("/api/dead-letters/redrive", json={"type": "echo"})).json()
    assert "queued" == (await user.get(f"/api/jobs/{things['jobs']}")).json()["status"]


async def test_a_job_may_not_be_put_in_for_another(user, machine, admin):
    """Only administrators name a user; kinds that touch files are not for plain tokens."""
    refused = [
        await user.post("/api/jobs", json={"type": "echo", "options": {"userId": "user-2"}}),
        await (await machine("send")).post("/api/jobs", json={"type": "echo", "options": {"userId": "user-2"}}),
        await (await machine("send")).post("/api/jobs", json={"type": "schema_rebuild"}),
        await (await machine("watch")).post("/api/jobs", json={"type": "echo"}),
    ]
    named = await admin.post("/api/jobs", json={"type": "echo", "options": {"userId": "user-2"}})

    assert [403] * 4 == [one.status_code for one in refused] and 201 == named.status_code


async def test_a_statement_that_forgets_its_tenant_sees_one_tenant_only(app: Trunkline, user, stranger, tenant):
    """The second wall: the role that reads for people is held by row-level security, in every table."""
    mine, theirs = await user.made(payload={"mine": 1}), await stranger.made(payload={"theirs": 1})
    reader, tenant_id = Reader(app.store), await app.tenant_id(tenant)
    rows = await reader.fetch(tenant_id, "select id, tenant_id from trunkline.jobs")
    tables = await app.store.fetch(
        """select c.relname::text from pg_class as c where c.relnamespace = 'trunkline'::regnamespace and c.relkind in ('r', 'p')
              and not c.relispartition and has_table_privilege('trunkline_app', c.oid, 'select')
              and exists (select from pg_attribute as a where a.attrelid = c.oid and a.attname = 'tenant_id')"""
    )
    seen = {name: await reader.fetch(tenant_id, f"select distinct tenant_id from trunkline.{name}") for (name,) in tables}

    assert await reader.has_wall() and [mine] == [str(row["id"]) for row in rows]
    assert len(seen) > 20 and {tenant_id} == {row[0] for found in seen.values() for row in found}
    assert None is await pages.job(reader, tenant_id, theirs)


async def test_the_reading_role_cannot_write_nor_read_secrets(app: Trunkline, tenant):
    """Not even the log of what was done; and no role but the owner's functions adds to it."""
    reader, tenant_id = Reader(app.store), await app.tenant_id(tenant)
    for text in ("select hash from trunkline.token", "select answer from trunkline.api_request", "select secret from trunkline.api_secret"):
        with pytest.raises(Exception, match="permission denied"):
            await reader.fetch(tenant_id, text)
    async with app.store.connection() as conn:
        for role in ("trunkline_app", "trunkline_worker"):
            for act in (
                "update trunkline.audit set actor = 'x'",
                "delete from trunkline.audit",
                "truncate trunkline.audit",
                "delete from trunkline.job",
            ):
                transaction = conn.transaction()
                await transaction.start()
                await conn.execute(f"set local role {role}; set local trunkline.tenant_id = {tenant_id}")
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await conn.execute(act)
                await transaction.rollback()


async def test_a_server_with_the_worker_role_stands_behind_the_wall_too(app: Trunkline, tenant):
    """It is not the owner, and need not be: it may step down to the reading role, and has no way up."""
    login = f"login_{tenant.replace('-', '_')}"
    tenant_id = await app.tenant_id(tenant)
    async with app.store.connection() as conn:
        await conn.execute(f"create role {login} login in role trunkline_worker")
        try:
            await conn.execute(f"set session authorization {login}")
            await conn.execute(BEGIN.format(seconds=5, tenant_id=tenant_id, wall=WALL))
            seen = await conn.fetch("select distinct tenant_id from trunkline.job")
            await conn.execute("rollback")
        finally:
            await conn.execute("rollback; reset session authorization")
            await conn.execute(f"drop role {login}")

    assert {tenant_id} >= {row[0] for row in seen}


async def test_without_the_second_wall_the_first_one_stands(app: Trunkline, user, stranger, tenant, monkeypatch):
    """Where the role cannot be taken the log says so, and every statement still names its tenant; other schemas have roles of their own."""
    monkeypatch.setattr("trunkline.store.reader.WALL", "set local role trunkline_nobody")
    mine, theirs = await user.made(), await stranger.made()
    reader, tenant_id = Reader(app.store), await app.tenant_id(tenant)

    assert not await reader.has_wall() and "set local role mine_app" == render(WALL, "mine")
    assert [mine] == [str(job.id) for job in (await pages.page(reader, tenant_id, pages.Filter(), limit=10)).jobs]
    assert None is await pages.job(reader, tenant_id, theirs)


async def test_an_id_of_one_s_own_is_no_way_to_another_s_job(user, other, stranger, admin):
    """Repeated by its owner it is the job that is there; for others of the tenant it is taken, and nothing is said of it or written."""
    job_id = str(uuid7())
    body = {"type": "echo", "payload": {"mine": 1}, "options": {"id": job_id}}
    first, again, theirs, elsewhere = [await client.post("/api/jobs", json=body) for client in (user, user, other, stranger)]
    acts = [(row["act"], row["actor"]) for row in (await admin.get("/api/audit")).json()["data"]]

    assert [201, 200, 404, 201] == [one.status_code for one in (first, again, theirs, elsewhere)] and first.json() == again.json()
    assert [("job.created", "user-1")] == acts
    assert 1 == (await user.get("/api/jobs")).json()["pagination"]["total"]


async def test_a_job_may_not_wait_for_another_s(user, other, stranger, admin):
    """When it ended would be seen, and that it is there; in the same words as of a job that is not there."""
    mine, theirs, foreign, absent = await user.made(), await other.made(), await stranger.made(), str(uuid7())
    answers = [
        await user.post("/api/jobs", json={"type": "echo", "options": {"dependsOn": [mine, parent]}})
        for parent in (mine, theirs, foreign, absent)
    ]
    told = {one.text.replace(parent, "?") for one, parent in zip(answers[1:], (theirs, foreign, absent), strict=True)}

    assert [201, 404, 404, 404] == [one.status_code for one in answers] and 1 == len(told), told
    assert 201 == (await admin.post("/api/jobs", json={"type": "echo", "options": {"dependsOn": [mine, theirs]}})).status_code
