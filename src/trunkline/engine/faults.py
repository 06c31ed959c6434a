"""An error as it is kept with a job: type, message, when, and the end of its traceback.

A handler that fails often fails at the same place, and to write down where costs more than all else that a failed job costs its worker
(source is read, and parsed for the marks under it): so the text of a stack is kept and used again (docs/decisions/0024).
"""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from types import CodeType, TracebackType

from trunkline.model import Fail
from trunkline.model.payload import encode

KEPT = 4000  # characters of a message, and of a traceback's end
STACKS = 256  # texts kept; then all of them are forgotten
DEEPEST = 50  # frames of a stack whose text is kept
# What else their text needs: another traceback, or the frame's own names for a hint.
WITH_MORE = (SyntaxError, NameError, AttributeError, ImportError, BaseExceptionGroup)
_stacks: dict[
    tuple[int, ...], tuple[str, list[CodeType]]
] = {}  # by where each frame stands; the code is held, or its id would be another's


def fault(type_: str, message: str, trace: str | None = None) -> str:
    """JSON text {type, message, at, traceback?}; whatever PostgreSQL cannot hold is replaced."""
    value = {"type": type_, "message": storable(message[:KEPT]), "at": datetime.now(UTC).isoformat()}
    if trace:
        value["traceback"] = storable(trace[-KEPT:])
    return encode(value, what="error")


def fault_of(error: BaseException) -> str:
    """The same for an exception; a `Fail` is a decision and has no traceback."""
    trace = None if isinstance(error, Fail) else trace_of(error)
    name = type(error).__name__
    said = f"{name}: {error}" if isinstance(error, KeyError) else str(error)  # which says its key and nothing else
    return fault(name, said or name, trace)


def trace_of(error: BaseException) -> str:
    """What `traceback.format_exception` says of it."""
    if error.__cause__ is None and (error.__context__ is None or error.__suppress_context__) and not isinstance(error, WITH_MORE):
        stack = _stack_of(error.__traceback__)
        if stack is not None:
            return stack + "".join(traceback.format_exception_only(error))
    return "".join(traceback.format_exception(error))


def _stack_of(top: TracebackType | None) -> str | None:
    """The text above the exception's own; None: too deep, or there is none."""
    places: list[int] = []
    codes: list[CodeType] = []
    at = top
    while at is not None:
        code = at.tb_frame.f_code
        codes.append(code)
        places += (id(code), at.tb_lasti)
        if len(codes) > DEEPEST:
            return None
        at = at.tb_next
    if not codes:
        return None
    key = tuple(places)
    known = _stacks.get(key)
    if known is None:
        if len(_stacks) >= STACKS:
            _stacks.clear()
        known = _stacks[key] = ("Traceback (most recent call last):\n" + "".join(traceback.format_tb(top)), codes)
    return known[0]


def storable(text: str) -> str:
    """The text with what PostgreSQL cannot hold replaced: NUL and lone surrogates."""
    return text.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
