"""The API against its own document: whatever the schemas allow, and what they do not, is answered as the document says.

A few examples of each route here; many under `make chaos`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from tests.rest.conftest import signed

pytestmark = pytest.mark.asyncio(loop_scope="package")
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
SLOW = ("/api/jobs/{job_id}/wait",)  # a wait is long on purpose


@pytest.fixture
def roles(tenant: str) -> dict[str, dict[str, str]]:
    """Headers of an administrator, a user and nobody."""
    return {
        "admin": {"Authorization": f"Bearer {signed('boss', tenant=tenant, scope='admin')}"},
        "user": {"Authorization": f"Bearer {signed('user-1', tenant=tenant)}"},
        "nobody": {},
    }


async def fuzz(app: Any, base: str, roles: dict[str, dict[str, str]], examples: int) -> int:
    """Ask every route in every role; how many answers were looked at."""
    asked, failed = 0, []

    def run() -> None:
        nonlocal asked
        schema = schemathesis.openapi.from_dict(app.asgi.openapi())
        schema.config.update(base_url=base)
        schema.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
        for found in schema.get_all_operations():
            operation = found.ok()
            if operation.path in SLOW:
                continue
            either = st.one_of(operation.as_strategy(generation_mode=mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE))

            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
                derandomize=examples < 10,
            )
            @given(case=either, role=st.sampled_from(sorted(roles)))
            def one(case: Any, role: str) -> None:
                nonlocal asked
                case.call_and_validate(base_url=base, headers=roles[role], checks=list(CHECKS))
                asked += 1

            try:
                one()
            except (Exception, BaseExceptionGroup) as error:
                failed.append(f"{operation.label}: {error!r} {getattr(error, 'exceptions', '')}")

    await asyncio.to_thread(run)
    assert not failed, "\n\n".join(failed)
    return asked


async def test_the_api_answers_as_its_document_says(app, base, roles):
    """A few examples a route, the same each time."""
    assert await fuzz(app, base, roles, 2) >= 50


@pytest.mark.chaos
@pytest.mark.timeout(1800)
async def test_the_api_answers_as_its_document_says_for_long(app, base, roles):
    """As many as an afternoon allows."""
    assert await fuzz(app, base, roles, 100) >= 2000
