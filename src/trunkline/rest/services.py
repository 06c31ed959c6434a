"""What the API asks of the application it belongs to. `app.Trunkline` is one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal, Protocol
from uuid import UUID

from trunkline.connections import Connections
from trunkline.engine import Limits, Records, Schedules, Templates
from trunkline.engine.acts import Actable
from trunkline.realtime import Updates


class Download(Protocol):
    """A finished file; `name` is fit for a header, `sha256` is what the job said."""

    @property
    def path(self) -> Path:
        """Where it stands."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def bytes(self) -> int:
        """How long it is."""

    @property
    def media_type(self) -> str:
        """What it is."""

    @property
    def sha256(self) -> str | None:
        """Of its bytes, hexadecimal; None where the job did not say."""


class Files(Protocol):
    """What people brought, and what jobs made."""

    async def open(
        self,
        job_id: UUID | str,
        which: Literal["file", "rejects", "csv"] = "file",
        *,
        tenant: str | None = None,
        user_id: str | None = None,
    ) -> Download:
        """The file of a completed job; NotFound."""
        ...

    async def save(self, content: AsyncIterator[bytes], ending: str, *, tenant: str | None = None) -> str:
        """Keep an upload; its name."""
        ...

    async def drop(self, name: str, *, tenant: str | None = None) -> None:
        """Forget an upload."""
        ...


class Services(Actable, Protocol):
    """Jobs and all that is about them, by tenant."""

    records: Records
    schedules: Schedules
    templates: Templates
    limits: Limits
    updates: Updates
    connections: Connections

    @property
    def files(self) -> Files:
        """Uploads and results."""
        ...

    async def queue_size(self, queue: str, before: str = "active", *, tenant: str | None = None) -> int:
        """Jobs in states before `before`."""
        ...
