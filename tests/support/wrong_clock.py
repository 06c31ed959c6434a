"""A host whose wall clock is wrong: in the process that asks for it, `time.time`, `datetime.now` and UUIDv7 ids are off together."""

from __future__ import annotations

import datetime as module
import os
import sys
import time
from typing import Any
from uuid import UUID

import trunkline.app  # noqa: F401 - so that every module that reads a clock is there to be patched


def set_ahead(seconds: float) -> None:
    """Set this process's wall clock `seconds` ahead (negative: behind) for all of Trunkline. There is no way back."""
    true_time = time.time

    class AnyDatetime(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, module.datetime)

    class Datetime(module.datetime, metaclass=AnyDatetime):
        @classmethod
        def now(cls, tz: module.tzinfo | None = None) -> Any:
            return module.datetime.now(tz) + module.timedelta(seconds=seconds)

    def uuid7() -> UUID:
        milliseconds = int((true_time() + seconds) * 1000)
        low = int.from_bytes(os.urandom(10), "big")
        return UUID(int=milliseconds << 80 | 7 << 76 | (low >> 68) << 64 | 2 << 62 | low & (1 << 62) - 1)

    time.time = lambda: true_time() + seconds
    for name, room in list(sys.modules.items()):
        if name.startswith("trunkline."):
            if getattr(room, "datetime", None) is module.datetime:
                room.datetime = Datetime  # type: ignore[attr-defined]
            if hasattr(room, "uuid7"):
                room.uuid7 = uuid7  # type: ignore[attr-defined]
