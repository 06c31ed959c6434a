"""The API against its own document: whatever the schemas allow, and what they do not, is answered as the document says.

A few examples of each route here; many under `make chaos`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from tests.rest.conftest import signed

pytestmark = pytest.mark.asyncio(loop_scope="package")
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


@pytest_asyncio.fixture(loop_scope="package")
async def roles(tenant: str, machine) -> dict[str, dict[str, str]]:
    """Headers of an administrator, a user, two machines, another tenant's administrator and nobody."""
    return {
        "admin": {"Authorization": f"Bearer {signed('boss', tenant=tenant, scope='admin')}"},
        "user": {"Authorization": f"Bearer {signed('user-1', tenant=tenant)}"},
        "machine": (await machine("send", "watch"))._headers,
        "worker": (await machine("work"))._headers,
        "stranger": {"Authorization": f"Bearer {signed('boss', tenant=f'x-{tenant}', scope='admin')}"},
        "nobody": {},
    }


async def fuzz(app: Any, base: str, roles: dict[str, dict[str, str]], things: dict[str, str], examples: int) -> int:
    """Ask every route in every role, half of the time about `things` that are there; how many answers were looked at."""
    asked, failed = 0, []

    def run() -> None:
        nonlocal asked
        schema = schemathesis.openapi.from_dict(app.asgi.openapi())
        schema.config.update(base_url=base)
        schema.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
        for found in schema.get_all_operations():
            try:
                fuzz_one(found.ok())
            except (Exception, BaseExceptionGroup) as error:
                failed.append(f"{found.ok().label}: {error!r} {getattr(error, 'exceptions', '')}")

    def fuzz_one(operation: Any) -> None:
        resource, is_long = operation.path.split("/")[2], operation.path.endswith("/wait")
        either = st.one_of(operation.as_strategy(generation_mode=mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE))

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            derandomize=examples < 10,
        )
        @given(case=either, role=st.sampled_from(sorted(roles)), is_there=st.booleans())
        def one(case: Any, role: str, is_there: bool) -> None:
            nonlocal asked
            if is_there and case.path_parameters:
                case.path_parameters = dict.fromkeys(case.path_parameters, things[resource])
            if is_long:
                case.query = {**(case.query or {}), "timeout": 0}
            case.call_and_validate(base_url=base, headers=roles[role], checks=list(CHECKS))
            asked += 1

        one()

    await asyncio.to_thread(run)
    assert not failed, "\n\n".join(failed)
    return asked


async def test_the_api_answers_as_its_document_says(app, base, roles, things):
    """A few examples a route, the same each time."""
    assert await fuzz(app, base, roles, things, 2) >= 50


@pytest.mark.chaos
@pytest.mark.timeout(1800)
async def test_the_api_answers_as_its_document_says_for_long(app, base, roles, things):
    """As many as an afternoon allows."""
    assert await fuzz(app, base, roles, things, 100) >= 2000
