"""How fast jobs end in this worker, and so how many it claims ahead of a free slot.

Always true: what is claimed ahead would have ended within `PREFETCH_S` at the pace just seen, so none for slow jobs: no job waits here
while another worker is free. A pace that was seen before a quiet time says nothing of what comes after it.
Called by: engine.fetcher, engine.remote.
"""

from __future__ import annotations

import time
from collections.abc import Callable

PREFETCH_S = 0.03  # claim ahead what finishes in this time ...
MAX_PREFETCH = 1500  # ... up to this many
GATHER_S = 0.004  # under load, wait for about this much room before the next claim
SPAN_S = 0.05  # what is remembered halves in this time
BURST = 200  # so many ends tell of a new pace at once: a backlog that takes half a second should not begin with a tenth of it half idle


class Throughput:
    """`per_s` follows the count of finished jobs that `look` is given."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.per_s = 0.0
        self._at, self._before = clock(), 0

    def look(self, finished: int) -> None:
        """See how many have finished in all."""
        now, ended = self._clock(), finished - self._before
        took_s = now - self._at
        if took_s > SPAN_S:
            kept = 0.5 ** (took_s / SPAN_S)
            self.per_s = kept * self.per_s + (1 - kept) * ended / took_s
        elif took_s > 0 and ended >= BURST and ended > 4 * self.per_s * took_s:
            self.per_s = ended / took_s
        else:
            return
        self._at, self._before = now, finished

    @property
    def ahead(self) -> int:
        """How many jobs may be claimed for which there is no slot yet."""
        return min(int(self.per_s * PREFETCH_S), MAX_PREFETCH)

    def enough(self, slots: int) -> int:
        """How many of `slots` should be free before a claim is worth its round trip."""
        return max(1, min(int(self.per_s * GATHER_S), slots // 2))
