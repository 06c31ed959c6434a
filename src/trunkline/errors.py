"""Every exception Trunkline raises on purpose: one class per decision a caller can take.

Always true: the message says what happened with the value, then what to do; `code` is stable and is what the
wire and REST answer with; `retryable` says whether the same call may succeed later unchanged.
SQLSTATEs of class TL are raised by our SQL functions and mapped to these in `store.sqlstate`, nowhere else.
"""

from __future__ import annotations

from typing import ClassVar


class TrunklineError(Exception):
    """The root of all of them; catch it to catch what Trunkline itself refuses."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False


class InvalidSetting(TrunklineError):
    """A setting has a value that cannot work; the start stops here."""

    code = "invalid_setting"


class InvalidInput(TrunklineError):
    """An argument is out of range or of the wrong form; nothing was written."""

    code = "invalid_input"


class InvalidPayload(InvalidInput):
    """The payload is not JSON that can be stored: too large, too deep, NaN, `\\u0000`, or not JSON at all."""

    code = "invalid_payload"


class SecretInPayload(InvalidPayload):
    """A field of a plain payload is named like a secret; the message says where it stands. Nothing was written."""

    code = "secret_in_payload"


class MustEncrypt(TrunklineError):
    """This kind is encrypted and the payload is not, or there is no key to encrypt it with. Nothing was written."""

    code = "must_encrypt"


class NotReadable(TrunklineError):
    """An encrypted value cannot be opened here: no key made it, it was changed, or it was made for another place."""

    code = "not_readable"

    def __init__(self, message: str, *, for_good: bool = False) -> None:
        """`for_good`: no key can mend it, so a job is not tried again."""
        super().__init__(message)
        self.for_good = for_good


class BadId(InvalidInput):
    """A caller's own job id is not a UUIDv7 within 24 hours of the database clock."""

    code = "bad_id"


class UnknownCall(InvalidInput):
    """A socket sent a call of a name that no version of this dialect has."""

    code = "unknown_call"


class Unauthenticated(TrunklineError):
    """Who asks is not known: the token is missing, unknown, inactive or over. All of these read the same."""

    code = "unauthenticated"


class Forbidden(TrunklineError):
    """Who asks is known and may not do this: a scope or a tenant is missing."""

    code = "forbidden"


class RateLimited(TrunklineError):
    """So many calls at once, or so many things held, are not accepted from one connection."""

    code = "rate_limited"
    retryable = True


class InternalError(TrunklineError):
    """Something broke on our side; its traceback is in the log of the process that answered."""

    code = "internal_error"
    retryable = True


class NotFound(TrunklineError):
    """No such job, queue or key in this tenant; "not yours" reads the same."""

    code = "not_found"


class NotAllowed(TrunklineError):
    """The database role lacks a right that this needs."""

    code = "not_allowed"


class NotRetryable(TrunklineError):
    """Only a job that ended failed or cancelled can be retried by hand."""

    code = "not_retryable"


class LeaseLost(TrunklineError):
    """This attempt is no longer the caller's: it was rescued, cancelled or already reported. Drop the result."""

    code = "lease_lost"


class RolledBack(TrunklineError):
    """A handler completed its job in a transaction that was then rolled back; the attempt counts as failed."""

    code = "rolled_back"
    retryable = True


class SessionLost(TrunklineError):
    """This process did not renew its session in time; its leases were offered to others. Start a new session."""

    code = "session_lost"
    retryable = True


class QuotaExceeded(TrunklineError):
    """The tenant has as many queued jobs as it may have, or enqueues too fast; `retry_after_s` says when, where it is known."""

    code = "quota_exceeded"
    retryable = True

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(TrunklineError):
    """The database did not answer in time or is read-only, full or starting; the same call may succeed later."""

    code = "unavailable"
    retryable = True


class TimedOut(Unavailable):
    """A statement did not end in its time, or waited too long for somebody's lock."""

    code = "timed_out"


class WaitTimeout(TrunklineError):
    """The job had not ended when the time given to `wait` was over; it goes on."""

    code = "wait_timeout"
    retryable = True


class ConnectionFailed(TrunklineError):
    """A registered database could not be reached or did not answer this time; the same call may succeed later."""

    code = "connection_failed"
    retryable = True


class ConnectionUnusable(InvalidInput):
    """A registered database refuses what it was given: the credentials, the rights, the name or the URL are wrong."""

    code = "connection_unusable"


class HostRefused(InvalidInput):
    """The URL of a database leads to an address inside our own network, or to a file; TRUNKLINE_CONNECTION_HOSTS allows some."""

    code = "host_refused"


class JobFailed(TrunklineError):
    """`wait` was asked for a result and the job ended `failed`; the message is the job's error."""

    code = "job_failed"


class JobCancelled(TrunklineError):
    """`wait` was asked for a result and the job ended `cancelled`."""

    code = "job_cancelled"


class MigrationFailed(TrunklineError):
    """A migration cannot be applied: its text changed after it ran, or the schema belongs to somebody else."""

    code = "migration_failed"


class SchemaOutdated(TrunklineError):
    """The database's schema is older or newer than this code can work with."""

    code = "schema_outdated"


class Unflushed(TrunklineError):
    """A shutdown ended with reports that could not be written; the jobs will be offered again."""

    code = "unflushed"


class EmbeddedFailed(TrunklineError):
    """The embedded PostgreSQL could not be found, prepared or started."""

    code = "embedded_failed"
