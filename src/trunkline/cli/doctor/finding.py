"""One line of the doctor's answer.

Called by: every check.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]
SEVERITY: dict[Status, int] = {"ok": 0, "warn": 1, "fail": 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, its value, and what to do about it ("" where nothing is)."""

    check: str
    status: Status
    value: str
    advice: str = ""

    def to_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


def judged(check: str, value: str, *, fail: str = "", warn: str = "") -> Finding:
    """A finding from its advice: `fail` or `warn` say what to do when it is that bad, and are "" when it is not."""
    if fail:
        return Finding(check, "fail", value, fail)
    return Finding(check, "warn" if warn else "ok", value, warn)
