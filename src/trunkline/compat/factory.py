"""`QueueFactory`: one queue for the whole process, as the code that is taken over expects."""

from __future__ import annotations

from typing import ClassVar

from trunkline.app import Trunkline
from trunkline.compat.queue import CompatQueue


class QueueFactory:
    """Hands out the process's queue."""

    _queue: ClassVar[CompatQueue | None] = None

    @classmethod
    def get_queue(cls, app: Trunkline | None = None, *, tenant: str | None = None) -> CompatQueue:
        """The one queue, made at the first call.

        Args:
            app: the application it uses; None: one made from the environment (TRUNKLINE_DATABASE_URL). Counts at the first call only.
            tenant: by name; None: the default one.
        """
        if cls._queue is None:
            cls._queue = CompatQueue(app or Trunkline(), tenant=tenant, owns_app=app is None)
        return cls._queue

    @classmethod
    async def close(cls) -> None:
        """Hand back what was taken and not finished, and forget the queue; the next `get_queue` makes a new one."""
        queue, cls._queue = cls._queue, None
        if queue is not None:
            await queue.close()
