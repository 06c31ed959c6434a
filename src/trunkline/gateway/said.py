"""An event that many clients are told: encoded once for each dialect that somebody speaks.

Called by: events. Read by: raw, dialect.
"""

from __future__ import annotations

from collections.abc import Hashable

from trunkline.gateway.socketio.packets import Parcel, event
from trunkline.wire import Push, encode_push
from trunkline.wire.pushes import Progress


class Said:
    """One event."""

    def __init__(self, push: Push) -> None:
        self.push = push
        self._frame: bytes | None = None
        self._parcel: Parcel | None = None

    @property
    def frame(self) -> bytes:
        """For the plain WebSocket."""
        if self._frame is None:
            self._frame = encode_push(self.push)
        return self._frame

    @property
    def parcel(self) -> Parcel:
        """For Socket.IO."""
        if self._parcel is None:
            self._parcel = event("/", self.push.event, self.push, key=self.key)
        return self._parcel

    @property
    def key(self) -> Hashable:
        """Of progress: only the latest of a job matters, so a newer one takes the place of one that waits. Else None."""
        return ("progress", self.push.job_id) if isinstance(self.push, Progress) else None
