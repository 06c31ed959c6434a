"""Files over HTTP: brought by users, made by their jobs, and nobody else's."""

from __future__ import annotations

import asyncio

import pytest

from tests.rest.test_refusals import problem
from trunkline.jobtypes.files import uploads

pytestmark = pytest.mark.asyncio(loop_scope="package")
CSV = {"Content-Type": "text/csv"}
ELSEWHERE = ["../../1/results/x.csv", "/etc/passwd", "x", "0" * 36 + "/../x", "0" * 36 + "-1.csv\r\nX: y", "0" * 36 + "-9.csv"]


async def held(app, tenant) -> list[str]:
    """Names of the tenant's uploads, those that are coming in too."""
    return [path.name for path in uploads(app.settings, await app.tenant_id(tenant)).iterdir()]


async def test_a_file_is_kept_as_it_came(app, user, tenant, admin):
    """Under a name of ours, for its tenant, and noted in the audit log."""
    made = await user.post("/api/files", content=b"a,b\n\xff\x00", headers=CSV)
    name = made.json()["file"]
    path = uploads(app.settings, await app.tenant_id(tenant)) / name

    assert (201, 6) == (made.status_code, made.json()["bytes"]) and b"a,b\n\xff\x00" == path.read_bytes()
    row = (await admin.get("/api/audit")).json()["data"][0]
    assert ("file.uploaded", f"file:{name}") == (row["act"], row["subject"])


async def test_a_repeated_upload_keeps_one_file(app, user, tenant):
    """And another content under the same key is refused, its file gone."""
    key = {**CSV, "Idempotency-Key": "u"}
    first, again = [await user.post("/api/files", content=b"a\n1\n", headers=key) for _ in range(2)]
    other = await user.post("/api/files", content=b"a\n2\n", headers=key)

    assert first.json() == again.json() and "true" == again.headers["idempotent-replayed"]
    assert (422, "key_reused") == problem(other) and [first.json()["file"]] == await held(app, tenant)


async def test_what_is_no_file_for_an_import_is_refused(app, user, machine, admin, tenant, monkeypatch):
    """Too long (said or not), of another type, by a plain machine, too many bytes in all; nothing is kept of them."""

    async def pieces():
        for _ in range(30):
            yield b"x" * 10_000

    answers = [
        await user.post("/api/files", content=b"x" * 100_001, headers=CSV),
        await user.post("/api/files", content=pieces(), headers=CSV),
        await user.post("/api/files", content=b"{}", headers={"Content-Type": "application/json"}),
        await user.post("/api/files", content=b"a", headers={**CSV, "Content-Encoding": "gzip"}),
        await (await machine("send")).post("/api/files", content=b"a", headers=CSV),
        await user.post("/api/files", content=b"a", headers={**CSV, "Idempotency-Key": ""}),
    ]
    kinds = ["too_large", "too_large", "unsupported_media_type", "unsupported_media_type", "forbidden", "invalid_input"]

    assert kinds == [problem(one)[1] for one in answers] and [] == await held(app, tenant)
    monkeypatch.setattr("trunkline.jobtypes.files.KEPT", 0)
    assert (429, "quota_exceeded") == problem(await admin.post("/api/files", content=b"a", headers=CSV))


async def test_an_upload_may_take_its_time(user, monkeypatch):
    """As long as it keeps its pace: the server's patience with requests is not for files."""
    monkeypatch.setattr("trunkline.gateway.protocols.HEADERS_WITHIN_S", 0.3)

    async def pieces():
        for _ in range(8):
            yield b"x" * 1000
            await asyncio.sleep(0.1)

    answer = await user.post("/api/files", content=pieces(), headers=CSV)

    assert (201, 8000) == (answer.status_code, answer.json()["bytes"])


async def test_an_upload_that_crawls_is_given_up(app, user, base, tenant, monkeypatch):
    """Though its bytes come, one at a time; and one principal has so many under way, others not fewer."""
    monkeypatch.setattr("trunkline.rest.routes.files.BODY_S", 0.2)
    monkeypatch.setattr("trunkline.rest.routes.files.MOST_UPLOADS", 1)
    host, port = base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /api/files HTTP/1.1\r\nHost: x\r\nAuthorization: {user._headers['Authorization']}\r\nContent-Type: text/csv\r\nContent-Length: 50\r\n\r\n"
    writer.write(head.encode())
    answer = asyncio.create_task(reader.read())
    while not answer.done():
        writer.write(b"x")
        await asyncio.sleep(0.03)
    writer.close()

    assert (await answer).startswith(b"HTTP/1.1 408") and [] == await held(app, tenant) and {} == app.api.uploads
    app.api.uploads[(await app.tenant_id(tenant), "user:user-1")] = 1
    assert (429, "rate_limited") == problem(await user.post("/api/files", content=b"a", headers=CSV))
    app.api.uploads.clear()


async def test_a_job_s_file_is_for_whoever_may_see_the_job(working, user, other, stranger, admin, machine):
    """It is answered as something to save; others are told what is told of jobs that are not there."""
    job = await user.made(type="keep", payload={"text": "<script>alert(1)</script>"})
    await user.get(f"/api/jobs/{job}/wait")
    place = f"/api/jobs/{job}/file"
    mine, boss = await user.get(place), await admin.get(place)
    again = await user.get(place, headers={"If-None-Match": mine.headers["etag"]})

    assert [200, 200, 304] == [
        one.status_code for one in (mine, boss, again)
    ] and mine.content == boss.content == b"<script>alert(1)</script>"
    assert mine.headers["content-disposition"] == f'attachment; filename="{job}-1.csv"'
    assert "default-src 'none'" in mine.headers["content-security-policy"] and "nosniff" == mine.headers["x-content-type-options"]
    assert [404, 404, 403] == [problem(await one.get(place))[0] for one in (other, stranger, await machine("watch"))]
    assert (404, "not_found") == problem(await user.get(place, params={"which": "rejects"}))
    assert (422, "invalid_input") == problem(await user.get(place, params={"which": "../secret"}))
    for name in ELSEWHERE:  # results are what handlers of customers say
        job = await user.made(type="keep", payload={"name": name, "text": "x"})
        await user.get(f"/api/jobs/{job}/wait")
        assert (404, "not_found") == problem(await user.get(f"/api/jobs/{job}/file")), name
