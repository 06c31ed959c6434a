"""The update dialect (namespace `/jobs`): what a watcher asks for, what it is answered, and what it is told.

Always true: a room's name is made here from ids, never taken from a client.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, ClassVar, Literal, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta, Raw, Struct, field

from trunkline.errors import InvalidInput, TrunklineError, UnknownCall
from trunkline.wire.calls import in_words
from trunkline.wire.pushes import Push
from trunkline.wire.refusals import Refusal
from trunkline.wire.text import MAX_BYTES, checked

RECOVERY = "recovery"  # an event that carries nothing but a recovering client's offset
T = TypeVar("T")


def _null() -> Raw:
    return Raw(b"null")


class Watch(Struct, rename="camel", frozen=True):
    """What every call of this dialect is."""

    call: ClassVar[str]


class SubscribeJobs(Watch, frozen=True):
    """Follow one job, one user's jobs, or all one may see."""

    call = "subscribe:jobs"
    job_id: UUID | None = None
    user_id: Annotated[str, Meta(min_length=1, max_length=500)] | None = None

    @property
    def room(self) -> str:
        """`job:ID`, `user:ID` or `all-jobs`."""
        return f"job:{self.job_id}" if self.job_id is not None else f"user:{self.user_id}" if self.user_id is not None else "all-jobs"


class UnsubscribeJobs(SubscribeJobs, frozen=True):
    """Undo the same subscription."""

    call = "unsubscribe:jobs"


class History(Watch, frozen=True):
    """The last updates of a job, newest first."""

    call = "history"
    job_id: UUID
    limit: Annotated[int, Meta(ge=1, le=100)] = 100


class Subscribed(Struct, rename="camel", frozen=True):
    """The answer to both; `success` False: `message` says why."""

    success: bool
    room: str
    message: str


class Recovery(Struct):
    """What `auth` of a watcher says about recovery: `recovery` asks for it; a client that comes back sends the other two.

    `pid` is that of the CONNECT answer; `offset` the last string that stood at the end of an event.
    """

    recovery: bool = False
    pid: Annotated[str, Meta(max_length=100)] | None = None
    offset: Annotated[str, Meta(max_length=4000)] | None = None


class JobUpdate(Push, frozen=True, kw_only=True):
    """A job changed; `status` is queued, started, retrying, completed, failed, cancelled, or the application's own word."""

    event = "job:update"
    job_id: UUID
    status: Annotated[str, Meta(min_length=1, max_length=100)]
    data: Raw = field(default_factory=_null)
    timestamp: datetime


class ProgressUpdate(Push, frozen=True, kw_only=True):
    """How far it is, percent."""

    event = "job:progress"
    job_id: UUID
    status: Literal["in_progress"] = "in_progress"
    progress: Annotated[float, Meta(ge=0, le=100)]
    message: str | None = None
    timestamp: datetime


class CompletedUpdate(Push, frozen=True, kw_only=True):
    """It ended completed."""

    event = "job:completed"
    job_id: UUID
    status: Literal["completed"] = "completed"
    result: Raw = field(default_factory=_null)
    timestamp: datetime


class ErrorUpdate(Push, frozen=True, kw_only=True):
    """It ended failed, for good; a failure that is retried is an update `retrying`."""

    event = "job:error"
    job_id: UUID
    status: Literal["failed"] = "failed"
    error: str
    timestamp: datetime


WATCHES: dict[str, type[Watch]] = {each.call: each for each in (SubscribeJobs, UnsubscribeJobs, History)}
UPDATES: dict[str, type[Push]] = {each.event: each for each in (JobUpdate, ProgressUpdate, CompletedUpdate, ErrorUpdate)}
_DECODERS = {name: msgspec.json.Decoder(each) for name, each in WATCHES.items()}


def decode_watch(name: str, data: Raw | bytes | str, *, is_checked: bool = False, max_bytes: int = MAX_BYTES) -> Watch | Refusal:
    """A call of this dialect, or why not. Never raises; see wire.calls.decode_call."""
    return read_call(_DECODERS, name, data, is_checked=is_checked, max_bytes=max_bytes)


def read_call(
    decoders: Mapping[str, msgspec.json.Decoder[T]], name: str, data: Raw | bytes | str, *, is_checked: bool, max_bytes: int
) -> T | Refusal:
    """A call of whichever dialect has these decoders by name."""
    try:
        decoder = decoders.get(name)
        if decoder is None:
            raise UnknownCall(f"there is no call {name[:80]!r} here. There are: {', '.join(decoders)}.")
        return decoder.decode(
            data if is_checked else checked(bytes(data) if isinstance(data, Raw) else data, what=name, max_bytes=max_bytes)
        )
    except msgspec.DecodeError as error:
        return Refusal.of(InvalidInput(f"{name}: {in_words(error)}"))
    except TrunklineError as error:
        return Refusal.of(error)
