"""The API inside somebody else's application, and the document it describes itself with."""

from __future__ import annotations

import httpx
import jsonschema_rs  # schemathesis brings it
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.rest.conftest import signed
from trunkline.rest.openapi import schema
from trunkline.rest.problems import Problem

pytestmark = pytest.mark.asyncio(loop_scope="package")


def client_of(asgi, tenant: str) -> httpx.AsyncClient:
    """A client of an ASGI application, without a port."""
    headers = {"Authorization": f"Bearer {signed(tenant=tenant)}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://foreign", headers=headers)


async def exercised(client: httpx.AsyncClient, prefix: str = "") -> None:
    """A job goes in and is found; what is refused is a problem here, too."""
    made = await client.post(f"{prefix}/api/jobs", json={"type": "echo"}, headers={"Idempotency-Key": "a"})
    found = await client.get(f"{prefix}/api/jobs/{made.json()['id']}")
    refused = [
        await client.get(f"{prefix}/api/jobs", params={"limit": 0}),
        await client.get(f"{prefix}/api/jobs", headers={"Authorization": "Bearer no"}),
        await client.post(f"{prefix}/api/jobs", json={"nothing": 1}),
    ]

    assert [201, 200] == [made.status_code, found.status_code]
    assert [422, 401, 422] == [one.status_code for one in refused]
    assert {"application/problem+json"} == {one.headers["content-type"] for one in refused}
    assert {"nosniff"} == {one.headers["x-content-type-options"] for one in refused}


async def test_the_router_stands_in_a_foreign_fastapi_application(app, tenant):
    """Whose own routes, errors and document stay its own."""
    foreign = FastAPI()
    foreign.include_router(app.router)

    @foreign.get("/own")
    async def own(n: int) -> dict[str, int]:
        return {"n": n}

    async with client_of(foreign, tenant) as client:
        await exercised(client)
        theirs = await client.get("/own", params={"n": "x"})
        document = (await client.get("/openapi.json")).json()

    assert "detail" in theirs.json() and "application/json" == theirs.headers["content-type"]
    assert {"/own", "/api/jobs", "/api/me"} <= set(document["paths"])


async def test_the_application_is_mounted_whole_in_starlette(app, tenant):
    """Below a path of its own, or instead of one."""
    async with client_of(Starlette(routes=[Mount("/tools", app.asgi)]), tenant) as client:
        await exercised(client, "/tools")
        assert 200 == (await client.get("/tools/healthz")).status_code


async def test_the_router_is_an_asgi_application_by_itself(app, tenant):
    """For frameworks that know no FastAPI."""
    async with client_of(Starlette(routes=[Mount("/", app.router)]), tenant) as client:
        await exercised(client)


async def test_the_document_has_no_loose_ends(user):
    """Each route says what it answers, what it refuses and how; each body has an example or none is needed."""
    document = (await user.get("/api/openapi.json")).json()
    sockets = (await user.get("/api/asyncapi.json")).json()
    problems = schema(Problem)

    assert "3.1.0" == document["openapi"] and {"bearer"} == set(document["components"]["securitySchemes"])
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            answers = operation["responses"]
            good = [code for code in answers if code.startswith("2")]
            assert good and operation["summary"] and "description" in operation, (method, path)
            assert ("401" in answers) == bool(operation.get("security")), (method, path)
            for code in set(answers) - set(good) - {"304"}:
                assert problems == answers[code]["content"]["application/problem+json"]["schema"], (method, path, code)
            if "requestBody" in operation:
                for media, said in operation["requestBody"]["content"].items():
                    is_file = media != "application/json" and said["schema"] == {"type": "string", "format": "binary"}
                    assert is_file or (False is said["schema"]["additionalProperties"] and said["example"]), (method, path)
            assert method == "get" or "304" not in answers, (method, path)
    assert "$ref" not in str(document["paths"]) and sockets["asyncapi"].startswith("3.")


async def test_every_answer_has_an_example_that_its_schema_allows(app):
    """Whatever is answered as JSON, and whatever is sent as JSON."""
    shown = []
    for path, methods in app.asgi.openapi()["paths"].items():
        for method, operation in methods.items():
            bodies = {f"{method} {path} {code}": said for code, said in operation["responses"].items() if str(code).startswith("2")}
            for name, body in {**bodies, f"{method} {path} sent": operation.get("requestBody", {})}.items():
                media = body.get("content", {}).get("application/json")
                if media is not None and path != "/api/asyncapi.json":
                    assert "example" in media, name
                    jsonschema_rs.validate(media["schema"], media["example"], validate_formats=True)
                    shown.append(name)

    assert len(shown) > 40


async def test_parts_that_are_not_there_are_absent(user):
    """No route that only says that it does nothing."""
    paths = (await user.get("/api/openapi.json")).json()["paths"]

    assert not [path for path in paths if path.split("/")[2] in ("notifications", "webhooks", "campaigns")]
    assert 404 == (await user.get("/api/notifications")).status_code
