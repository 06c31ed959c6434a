"""Templates: a named kind with payload and options, from which jobs are made by name.

Always true: what a template and the caller's own payload and options make together is decided in SQL (expand_template); a job
made from a template is an ordinary job, and stays as it is when the template changes.
Part of the application: `app.templates`.
"""

from __future__ import annotations

import builtins
from dataclasses import replace
from typing import Any

from trunkline.engine import keeping
from trunkline.engine.reach import Reach
from trunkline.errors import InvalidPayload, NotFound, SecretInPayload
from trunkline.model import NewJob, TemplateView, checked_kept, checked_name, kind_name
from trunkline.model.payload import encode
from trunkline.store import templates


class Templates:
    """Save, look at and delete templates; `app.enqueue(template=...)` uses one."""

    def __init__(self, app: Reach) -> None:
        self._app = app

    async def save(self, name: str, kind: str, payload: Any = None, *, tenant: str | None = None, **options: Any) -> bool:
        """Make a template (True), or replace the one of that name (False).

        Args:
            payload: what jobs start from; None: {}.
            options: as of `new_job`, but not those that mean one job or one moment: id, run_at, expires_at,
                idempotency_key, depends_on.
        Raises:
            InvalidInput, InvalidPayload: name the value and what is accepted. MustEncrypt: the kind is encrypted and there is no key.
        """
        checked_name("template", name)
        kind = kind_name(kind)
        body, make = {} if payload is None else payload, self._app.sealing.new_job
        try:
            text, kept = checked_kept(kind, body, options, make=make)
        except SecretInPayload:
            if not await keeping.is_encrypted(self._app, tenant, kind):
                raise
            text, kept = checked_kept(kind, body, {**options, "allow_secrets": True}, make=make)
        store, tenant_id = await self._app.open(), await self._app.tenant_id(tenant)
        is_new = await keeping.kept(
            self._app, tenant_id, kind, text, lambda body: templates.save(store, tenant_id, name, kind, body or "{}", kept)
        )
        await self._app.noted(tenant_id, "template.saved", f"template:{name}", type=kind)
        return is_new

    async def get(self, name: str, *, tenant: str | None = None) -> TemplateView:
        """One template; NotFound when this tenant has none of that name. {"$encrypted": "v1"} stands for an encrypted payload."""
        found = await self._stored(name, tenant)
        return replace(found, payload=keeping.concealed(found.payload))

    async def list(self, *, tenant: str | None = None) -> builtins.list[TemplateView]:
        """The tenant's templates by name, at most 1,000."""
        found = await templates.templates(await self._app.open(), await self._app.known_tenant_id(tenant))
        return [replace(one, payload=keeping.concealed(one.payload)) for one in found]

    async def delete(self, name: str, *, tenant: str | None = None) -> bool:
        """Take one away; jobs made from it stay. False: there was none. InvalidInput: schedules make jobs of it, and which."""
        tenant_id = await self._app.known_tenant_id(tenant)
        if gone := await templates.delete(await self._app.open(), tenant_id, name):
            await self._app.noted(tenant_id, "template.deleted", f"template:{name}")
        return gone

    async def job(self, name: str, payload: Any = None, *, tenant: str | None = None, **options: Any) -> NewJob:
        """A job from a template, not yet enqueued: give it to `enqueue_many`.

        Args:
            payload: an object is merged field by field over the template's, the caller's fields win; anything else replaces it. What is
                encrypted is opened for that, where this process has the key.
            options: over the template's; None takes one away.
        Raises:
            NotFound: this tenant has no such template.
        """
        most = self._app.settings.payload_max_bytes
        text = None if payload is None else encode(payload, max_bytes=most)
        store, tenant_id = await self._app.open(), await self._app.known_tenant_id(tenant)
        try:
            kind, merged, kept = await templates.expand(store, tenant_id, name, text)
        except InvalidPayload:  # the database cannot merge into what is encrypted
            found = await self._stored(name, tenant)
            under = keeping.opened(self._app.sealing.vault, tenant_id, found.kind, found.payload)
            if under is None or text is None:
                raise
            kind, merged, kept = found.kind, keeping.merged(under, text), {**found.options, "allow_secrets": True}
        together = {key: value for key, value in {**kept, **options}.items() if value is not None}
        return await self._app.checked_job(kind, merged, tenant, together)

    async def _stored(self, name: str, tenant: str | None) -> TemplateView:
        found = await templates.get(await self._app.open(), await self._app.known_tenant_id(tenant), name)
        if found is None:
            raise NotFound(f"template {name[:80]!r}: this tenant has none of that name.")
        return found
