"""Templates: a named kind with payload and options, from which jobs are made by name.

Always true: what a template and the caller's own payload and options make together is decided in SQL (expand_template); a job
made from a template is an ordinary job, and stays as it is when the template changes.
Part of the application: `app.templates`.
"""

from __future__ import annotations

import builtins
from typing import Any

from trunkline.engine.reach import Reach
from trunkline.errors import NotFound
from trunkline.model import NewJob, TemplateView, checked_kept, checked_name, kind_name
from trunkline.model.payload import encode
from trunkline.store import templates


class Templates:
    """Save, look at and delete templates; `app.enqueue(template=...)` uses one."""

    def __init__(self, app: Reach) -> None:
        self._app = app

    async def save(self, name: str, kind: str, payload: Any = None, *, tenant: str | None = None, **options: Any) -> None:
        """Make a template, or replace the one of that name.

        Args:
            payload: what jobs start from; None: {}.
            options: as of `new_job`, but not those that mean one job or one moment: id, run_at, expires_at,
                idempotency_key, depends_on.
        Raises:
            InvalidInput, InvalidPayload: name the value and what is accepted.
        """
        checked_name("template", name)
        text, kept = checked_kept({} if payload is None else payload, options, max_bytes=self._app.settings.payload_max_bytes)
        assert text is not None
        await templates.save(await self._app.open(), await self._app.tenant_id(tenant), name, kind_name(kind), text, kept)

    async def get(self, name: str, *, tenant: str | None = None) -> TemplateView:
        """One template; NotFound when this tenant has none of that name."""
        found = await templates.get(await self._app.open(), await self._app.known_tenant_id(tenant), name)
        if found is None:
            raise NotFound(f"template {name[:80]!r}: this tenant has none of that name.")
        return found

    async def list(self, *, tenant: str | None = None) -> builtins.list[TemplateView]:
        """The tenant's templates by name, at most 1,000."""
        return await templates.templates(await self._app.open(), await self._app.known_tenant_id(tenant))

    async def delete(self, name: str, *, tenant: str | None = None) -> bool:
        """Take one away; jobs made from it stay. False: there was none."""
        return await templates.delete(await self._app.open(), await self._app.known_tenant_id(tenant), name)

    async def job(self, name: str, payload: Any = None, *, tenant: str | None = None, **options: Any) -> NewJob:
        """A job from a template, not yet enqueued: give it to `enqueue_many`.

        Args:
            payload: an object is merged field by field over the template's, the caller's fields win; anything else replaces it.
            options: over the template's; None takes one away.
        Raises:
            NotFound: this tenant has no such template.
        """
        most = self._app.settings.payload_max_bytes
        text = None if payload is None else encode(payload, max_bytes=most)
        kind, merged, kept = await templates.expand(await self._app.open(), await self._app.known_tenant_id(tenant), name, text)
        together = {key: value for key, value in {**kept, **options}.items() if value is not None}
        return await self._app.checked_job(kind, merged, tenant, together)
