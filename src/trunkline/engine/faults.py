"""An error as it is kept with a job: type, message, when, and the end of its traceback."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime

from trunkline.model import Fail
from trunkline.model.payload import encode

KEPT = 4000  # characters of a message, and of a traceback's end


def fault(type_: str, message: str, trace: str | None = None) -> str:
    """JSON text {type, message, at, traceback?}; whatever PostgreSQL cannot hold is replaced."""
    value = {"type": type_, "message": storable(message[:KEPT]), "at": datetime.now(UTC).isoformat()}
    if trace:
        value["traceback"] = storable(trace[-KEPT:])
    return encode(value, what="error")


def fault_of(error: BaseException) -> str:
    """The same for an exception; a `Fail` is a decision and has no traceback."""
    trace = None if isinstance(error, Fail) else "".join(traceback.format_exception(error))
    return fault(type(error).__name__, str(error) or type(error).__name__, trace)


def storable(text: str) -> str:
    """The text with what PostgreSQL cannot hold replaced: NUL and lone surrogates."""
    return text.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
