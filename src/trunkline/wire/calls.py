"""Every call of the gateway dialect as a type: camelCase on the wire, snake_case here; unknown fields are ignored.

Always true of a decoded call: each field has its type and range. What remains is for the command: names, rights, and whether
the job is there. Payloads (`data`, `result`, `error`) stay text, checked and not read again.
The same calls over Socket.IO (the event's name is the call) and over the plain WebSocket (`type` is).
Called by: gateway, client.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Raw, Struct, field

from trunkline.errors import InvalidInput, TrunklineError, UnknownCall
from trunkline.model.payload import JsonText
from trunkline.wire.refusals import Refusal
from trunkline.wire.text import MAX_BYTES, checked

YEAR_S = 31_536_000.0
MAX_BATCH = 10_000
MAX_CAPACITY = 10_000
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Key = Annotated[str, Meta(min_length=1, max_length=500)]
Attempt = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0, le=YEAR_S)]
Team = Annotated[int, Meta(ge=1, le=1000)]
ABSENT = Raw(b"")  # text that was not sent; msgspec has no union of Raw with anything


def empty_object() -> Raw:
    """A payload that was not sent. Made, not shared: msgspec has no schema for a default of this type."""
    return Raw(b"{}")


def _absent() -> Raw:
    return ABSENT


def _no_reason() -> Raw:
    return Raw(b'"failed"')


class Call(Struct, rename="camel", frozen=True):
    """What every call is; `call` is its name on the wire, `scopes` are the rights of which it needs one."""

    call: ClassVar[str]
    scopes: ClassVar[tuple[Literal["send", "work", "watch", "admin"], ...]]


class JobOptions(Struct, rename="camel", frozen=True, omit_defaults=True):
    """How a job is to be run; durations in seconds. `wire.options.job_options` makes them the product's own.

    Attributes:
        start_after: seconds from now, or an ISO 8601 time.
        expire_in: how long one attempt may take: seconds, or "15 minutes".
        user_id: whose job it is; for scope `admin`.
        traceparent: the W3C trace context that it belongs to.
    """

    id: UUID | None = None
    priority: Annotated[int, Meta(ge=0, le=100)] = 0
    start_after: float | str | None = None
    expire_in: float | str | None = None
    retry_limit: Annotated[int, Meta(ge=0, le=1000)] | None = None
    retry_delay: Seconds | None = None
    retry_backoff: bool | None = None
    singleton_key: Key | None = None
    idempotency_key: Key | None = None
    dead_letter: Name | None = None
    depends_on: Annotated[list[UUID], Meta(max_length=1000)] | None = None
    user_id: Key | None = None
    traceparent: Annotated[str, Meta(max_length=100)] | None = None


class ScheduleOptions(JobOptions, frozen=True):
    """Options of the jobs of a schedule, and its time zone, such as Europe/Berlin."""

    tz: Annotated[str, Meta(max_length=100)] = "UTC"


class SendJob(Call, frozen=True):
    """Put one job in."""

    call = "send_job"
    scopes = ("send",)
    name: Name
    data: Raw = field(default_factory=empty_object)
    options: JobOptions | None = None


class ScheduleJob(Call, frozen=True):
    """Send a job at each time of a cron pattern; the same name replaces."""

    call = "schedule_job"
    scopes = ("send",)
    name: Name
    cron_pattern: Annotated[str, Meta(min_length=1, max_length=200)]
    data: Raw = field(default_factory=empty_object)
    options: ScheduleOptions | None = None


class UnscheduleJob(Call, frozen=True):
    """End a schedule."""

    call = "unschedule_job"
    scopes = ("send",)
    name: Name


class ListSchedules(Call, frozen=True):
    """The tenant's schedules."""

    call = "list_schedules"
    scopes = ("send",)


class WorkerOptions(Struct, rename="camel", frozen=True):
    """How many jobs a worker takes at once: the product of both."""

    team_size: Team = 1
    team_concurrency: Team = 1

    @property
    def capacity(self) -> int:
        """Jobs in flight, 1 to MAX_CAPACITY."""
        return min(self.team_size * self.team_concurrency, MAX_CAPACITY)


class RegisterWorker(Call, frozen=True):
    """Be sent the jobs of a name; a second call changes the capacity."""

    call = "register_worker"
    scopes = ("work",)
    job_name: Name
    options: WorkerOptions | None = None


class UnregisterWorker(Call, frozen=True):
    """Be sent no more of them; what was not started is handed back."""

    call = "unregister_worker"
    scopes = ("work",)
    job_name: Name


class Report(Call, frozen=True):
    """What a worker says about one job it holds; without `attempt` the one this connection was given is meant."""

    job_name: Name
    job_id: UUID
    attempt: Attempt | None = None


class JobStarted(Report, frozen=True):
    """The handler runs now."""

    call = "job_started"
    scopes = ("work",)


class JobProgress(Report, frozen=True, kw_only=True):
    """How far it is, percent."""

    call = "job_progress"
    scopes = ("work",)
    progress: Annotated[float, Meta(ge=0, le=100)]
    message: Annotated[str, Meta(max_length=2000)] | None = None
    data: Raw = field(default_factory=_absent)


class JobCompleted(Report, frozen=True, kw_only=True):
    """It is done."""

    call = "job_completed"
    scopes = ("work",)
    result: Raw = field(default_factory=_absent)


class JobFailed(Report, frozen=True, kw_only=True):
    """This attempt failed. `retry_after`: a provider asked to wait so many seconds, which counts as no failure."""

    call = "job_failed"
    scopes = ("work",)
    error: Raw = field(default_factory=_no_reason)
    retryable: bool = True
    retry_after: Seconds | None = None


class BatchJob(Struct, rename="camel", frozen=True):
    """One job of a batch."""

    name: Name
    data: Raw = field(default_factory=empty_object)
    options: JobOptions | None = None


class SendBatch(Call, frozen=True):
    """Put jobs in, all or none of them, to be awaited together.

    Attributes:
        batch_id: a client's own, UUIDv7: with it, and an id for each job, the same call may be sent again after a lost answer.
    """

    call = "send_batch"
    scopes = ("send",)
    jobs: Annotated[list[BatchJob], Meta(min_length=1, max_length=MAX_BATCH)]
    batch_id: UUID | None = None


class WaitForBatch(Call, frozen=True):
    """Answer when every job of a batch has ended, or `timeout_ms` is over."""

    call = "wait_for_batch"
    scopes = ("send", "watch")
    batch_id: UUID
    timeout_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = 60_000


class GetJob(Call, frozen=True):
    """Where a job stands; without its name whichever it has."""

    call = "get_job"
    scopes = ("send", "watch")
    job_id: UUID
    job_name: Name | None = None


class CancelJob(Call, frozen=True):
    """End a job; one that runs is asked to, and has 10 s."""

    call = "cancel_job"
    scopes = ("send",)
    job_id: UUID
    job_name: Name | None = None


class GetQueueSize(Call, frozen=True):
    """How many jobs stand before a state."""

    call = "get_queue_size"
    scopes = ("send", "watch")
    job_name: Name
    before: Literal["retry", "active", "completed", "cancelled", "failed"] = "active"


_TYPES: tuple[type[Call], ...] = (
    SendJob,
    ScheduleJob,
    UnscheduleJob,
    ListSchedules,
    RegisterWorker,
    UnregisterWorker,
    JobStarted,
    JobProgress,
    JobCompleted,
    JobFailed,
    SendBatch,
    WaitForBatch,
    GetJob,
    CancelJob,
    GetQueueSize,
)
CALLS: dict[str, type[Call]] = {each.call: each for each in _TYPES}
_DECODERS = {name: msgspec.json.Decoder(each) for name, each in CALLS.items()}
_FIELDS = {
    each: [
        (part.name, part.encode_name, part.default if part.default_factory is msgspec.NODEFAULT else part.default_factory())
        for part in msgspec.structs.fields(each)
    ]
    for each in _TYPES
}


def decode_call(name: str, data: Raw | bytes | str, *, is_checked: bool = False, max_bytes: int = MAX_BYTES) -> Call | Refusal:
    """The call `name` with its data, or why not. Never raises.

    Args:
        is_checked: whether `data` is part of a text that went through `wire.text.checked`.
    """
    try:
        decoder = _DECODERS.get(name)
        if decoder is None:
            raise UnknownCall(f"there is no call {name[:80]!r}. There are: {', '.join(CALLS)}.")
        text = data if is_checked else checked(bytes(data) if isinstance(data, Raw) else data, what=name, max_bytes=max_bytes)
        return decoder.decode(text)
    except msgspec.DecodeError as error:
        return Refusal.of(InvalidInput(f"{name}: {in_words(error)}"))
    except TrunklineError as error:
        return Refusal.of(error)


def encode_call(call: Call) -> dict[str, object]:
    """The data of a call as it goes out: what is as by default is not said."""
    given = ((name, getattr(call, attribute), default) for attribute, name, default in _FIELDS[type(call)])
    return {name: value for name, value, default in given if value is not default and value != default}


def in_words(error: msgspec.DecodeError) -> str:
    """What a decoder missed, as a sentence with the field's name as it is on the wire."""
    problem, _, place = str(error).partition(" - at `$")
    where = place.rstrip("`").lstrip(".")
    problem = problem[:1].lower() + problem[1:] if problem[1:2].islower() else problem
    return f"{where}: {problem}." if where else f"{problem}."


def payload_text(raw: Raw) -> JsonText | None:
    """A payload of a checked message as text that needs no second check; None where none was sent."""
    return JsonText(bytes(raw).decode()) or None
