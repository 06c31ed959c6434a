"""Tenants as operators see them: `app.tenants`.

Called by: app (as an attribute), cli.
"""

from __future__ import annotations

from trunkline.engine.reach import Reach
from trunkline.errors import InvalidInput
from trunkline.store import tenants
from trunkline.store.tenants import TenantView

MOST_WEIGHT = 1000


class Tenants:
    """Who is there, and whose jobs get how much of workers that serve all."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    async def list(self) -> list[TenantView]:
        """The tenants by name with their live counts, at most 1,000."""
        return await tenants.views(await self._reach.open())

    async def set_weight(self, tenant: str, weight: int) -> int:
        """Give a tenant `weight` (1 to 1000) shares of workers that serve all; what it had. They follow within 2 s.

        Raises:
            NotFound: there is no such tenant.
        """
        if isinstance(weight, bool) or not isinstance(weight, int) or not 1 <= weight <= MOST_WEIGHT:
            raise InvalidInput(f"weight is {weight!r}: need an integer from 1 to {MOST_WEIGHT}.")
        tenant_id = await self._reach.known_tenant_id(tenant)
        before = await tenants.set_weight(await self._reach.open(), tenant_id, weight)
        if before != weight:
            await self._reach.noted(tenant_id, "tenant.weighed", f"tenant:{tenant}", weight=weight, before=before)
        return before
