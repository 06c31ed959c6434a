"""The user dialect (path `/socket.io`, default namespace): a person says who it is and follows own jobs, one by one.

Always true: a status is one of the five words that the API answers; a room's name is made from ids, never taken from a client.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from trunkline.wire.pushes import Push
from trunkline.wire.refusals import Refusal
from trunkline.wire.text import MAX_BYTES
from trunkline.wire.updates import read_call

Status = Literal["queued", "active", "completed", "failed", "cancelled"]


def _null() -> Raw:
    return Raw(b"null")


class Follow(Struct, rename="camel", frozen=True):
    """What every call of this dialect is."""

    call: ClassVar[str]


class Authenticate(Follow, frozen=True):
    """Say who it is: `token` is a user's JWT. Again with a fresh one of the same user, before the first is over."""

    call = "authenticate"
    token: str


class SubscribeJob(Follow, frozen=True):
    """Follow one job; where it stands is told at once. The id alone, as text, is understood, too."""

    call = "subscribe:job"
    job_id: UUID


class UnsubscribeJob(SubscribeJob, frozen=True):
    """Follow it no more."""

    call = "unsubscribe:job"


class Identified(Struct, rename="camel", frozen=True, kw_only=True):
    """The answer to `authenticate`, beside the event `authenticated`; what is refused is not answered but told, and disconnected."""

    status: Literal["ok"] = "ok"
    user_id: str


class Follows(Struct, rename="camel", frozen=True, kw_only=True):
    """The answer to `subscribe:job` and `unsubscribe:job`."""

    status: Literal["ok"] = "ok"
    job_id: UUID


class Authenticated(Push, frozen=True, kw_only=True):
    """It is known who this is: from here on calls are answered."""

    event = "authenticated"
    user_id: str


class Unauthorized(Push, frozen=True, kw_only=True):
    """Not let in, or no longer; a disconnect follows. `message` is a sentence."""

    event = "unauthorized"
    message: str


class StepProgress(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a job is. Where its work has no steps, `current` is the percentage and `total` 100."""

    current: float
    total: float
    percentage: Annotated[float, Meta(ge=0, le=100)]
    message: str | UnsetType = UNSET


class JobStatus(Push, frozen=True, kw_only=True):
    """Where a job stands; one whose failure is retried is `queued` again."""

    event = "job:status"
    job_id: UUID
    status: Status
    progress: StepProgress | UnsetType = UNSET


class JobDone(Push, frozen=True, kw_only=True):
    """It ended completed."""

    event = "job:completed"
    job_id: UUID
    result: Raw = field(default_factory=_null)


class JobBroken(Push, frozen=True, kw_only=True):
    """It ended failed, for good."""

    event = "job:failed"
    job_id: UUID
    error: str


FOLLOWS: dict[str, type[Follow]] = {each.call: each for each in (Authenticate, SubscribeJob, UnsubscribeJob)}
TO_USERS: tuple[type[Push], ...] = (Authenticated, Unauthorized, JobStatus, JobDone, JobBroken)
_DECODERS: dict[str, msgspec.json.Decoder[Follow | UUID]] = {
    "authenticate": msgspec.json.Decoder(Authenticate),
    "subscribe:job": msgspec.json.Decoder(UUID | SubscribeJob),
    "unsubscribe:job": msgspec.json.Decoder(UUID | UnsubscribeJob),
}


def decode_follow(name: str, data: Raw | bytes | str, *, is_checked: bool = False, max_bytes: int = MAX_BYTES) -> Follow | Refusal:
    """A call of this dialect, or why not. Never raises; see wire.calls.decode_call."""
    call = read_call(_DECODERS, name, data, is_checked=is_checked, max_bytes=max_bytes)
    if isinstance(call, UUID):
        return UnsubscribeJob(call) if name == UnsubscribeJob.call else SubscribeJob(call)
    return call
