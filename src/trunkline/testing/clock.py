"""A database clock that tests move, so that a three-day retry takes a millisecond."""

from __future__ import annotations

from trunkline.store import Store
from trunkline.store.admin import move_clock


class DatabaseClock:
    """Replaces the SQL clock function of one database; every connection and process sees it at once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.offset_s = 0.0

    async def forward(self, seconds: float) -> None:
        """Move the database clock by `seconds`; negative moves it back."""
        self.offset_s += seconds
        await move_clock(self._store, self.offset_s)
