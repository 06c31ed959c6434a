"""How far a job is, as people outside read it: {current, total, percentage, message?}, and what else was said.

Always true: what was said stays the text that it was; steps that were not said are hundredths; what is no object with a percentage is
passed on as it is.
Called by: rest.answers.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

_fields = msgspec.json.Decoder(dict[str, Raw])
_number = msgspec.json.Decoder(float)


def progress_of(text: str) -> dict[str, Raw] | Raw:
    """What was kept of a job's progress as a value of an answer."""
    try:
        said = _fields.decode(text)
        if {"current", "total"} <= said.keys():
            return said
        share = min(max(_number.decode(said["percentage"]), 0.0), 100.0)
    except (msgspec.DecodeError, KeyError):
        return Raw(text.encode())
    return {**said, "current": Raw(msgspec.json.encode(share)), "total": Raw(b"100")}
