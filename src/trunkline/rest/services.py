"""What the API asks of the application it belongs to. `app.Trunkline` is one."""

from __future__ import annotations

from typing import Protocol

from trunkline.engine import Limits, Records, Schedules, Templates
from trunkline.engine.acts import Actable
from trunkline.realtime import Updates


class Services(Actable, Protocol):
    """Jobs and all that is about them, by tenant."""

    records: Records
    schedules: Schedules
    templates: Templates
    limits: Limits
    updates: Updates

    async def queue_size(self, queue: str, before: str = "active", *, tenant: str | None = None) -> int:
        """Jobs in states before `before`."""
        ...
