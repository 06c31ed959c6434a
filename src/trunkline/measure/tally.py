"""Which jobs ran, one bit a job, so that a job that ran twice or never is seen. Numbers come from the payloads.

Called by: roles (adds), working (merges).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass


class Tally:
    """What one worker process ran. Grows as far as it must."""

    def __init__(self, jobs: int) -> None:
        self.count = 0
        self._bits = bytearray((jobs >> 3) + 1)

    def add(self, n: int) -> None:
        """Job `n` ran."""
        self.count += 1
        byte = n >> 3
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1))  # at least doubles, so adding stays cheap
        self._bits[byte] |= 1 << (n & 7)

    def summary(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {"count": self.count, "bits": base64.b64encode(self._bits).decode()}


@dataclass(frozen=True, slots=True)
class Tallied:
    """What the workers of one drain ran together."""

    count: int
    bits: int

    @classmethod
    def of(cls, summaries: Iterable[dict[str, object]]) -> Tallied:
        """Merge the summaries of all workers."""
        count = bits = 0
        for each in summaries:
            count += int(str(each["count"]))
            bits |= int.from_bytes(base64.b64decode(str(each["bits"])), "little")
        return cls(count, bits)

    def is_exactly_once(self, jobs: int) -> bool:
        """Whether jobs 0 to `jobs` - 1 ran, each once, and nothing else did."""
        return self.count == jobs and self.bits == (1 << jobs) - 1
