"""Prompts: named, versioned texts for `ai-generation`, changed without a deploy and never rewritten.

Part of the application: `app.prompts`.
"""

from __future__ import annotations

import builtins

from trunkline.engine.reach import Reach
from trunkline.errors import NotFound
from trunkline.store import prompts
from trunkline.store.prompts import PromptView

__all__ = ["PromptView", "Prompts"]


class Prompts:
    """Save and look at prompts. Every method takes `tenant` by name; None: the default one."""

    def __init__(self, app: Reach) -> None:
        self._app = app

    async def save(self, name: str, body: str, *, system: str | None = None, user_id: str | None = None, tenant: str | None = None) -> int:
        """Store a new version and answer its number, from 1; the newest one's where nothing changed.

        Args:
            body: 1..100,000 characters with {{ variables }}. system: what the model is told about its role, likewise.
        """
        store, tenant_id = await self._app.open(), await self._app.tenant_id(tenant)
        newest = await prompts.versions(store, tenant_id, name, None, 1)
        version = await prompts.save(store, tenant_id, name, system, body, user_id)
        if not newest or newest[0].version != version:
            await self._app.noted(tenant_id, "prompt.saved", f"prompt:{name}", version=version)
        return version

    async def get(self, name: str, version: int | None = None, *, tenant: str | None = None) -> PromptView:
        """One version; None: the newest. NotFound when this tenant has none such."""
        return await self.of(await self._app.known_tenant_id(tenant), name, version)

    async def of(self, tenant_id: int, name: str, version: int | None = None) -> PromptView:
        """The same, for a job of this tenant."""
        found = await prompts.versions(await self._app.open(), tenant_id, name, version, 1)
        if not found or (version is not None and found[0].version != version):
            raise NotFound(f"prompt {name[:80]!r}{'' if version is None else f' version {version}'}: this tenant has none such.")
        return found[0]

    async def history(self, name: str, *, limit: int = 100, tenant: str | None = None) -> builtins.list[PromptView]:
        """Its versions, newest first."""
        return await prompts.versions(await self._app.open(), await self._app.known_tenant_id(tenant), name, None, limit)

    async def list(self, *, tenant: str | None = None) -> builtins.list[PromptView]:
        """The newest version of each, by name, at most 1,000."""
        return await prompts.every(await self._app.open(), await self._app.known_tenant_id(tenant))
