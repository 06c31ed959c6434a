"""How many requests one principal may make: a token bucket each, in memory.

Always true: at most MOST buckets are kept; the one that was not used for longest goes first, and it was full by then or nearly so.
Called by: rest.api.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from trunkline.rest.problems import Refused

MOST = 20_000


class Pace:
    """`rate` requests a second and `burst` at once for each name."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, name: Hashable) -> None:
        """One request.

        Raises:
            Refused: 429, with the seconds after which the next one is served.
        """
        now = self._clock()
        left, at = self._left.pop(name, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        self._left[name] = (max(left - 1, 0) if left >= 1 else left, now)
        if len(self._left) > MOST:
            self._left.popitem(last=False)
        if left < 1:
            wait_s = max(1, int((1 - left) / self._rate + 0.999))
            raise Refused(
                429,
                "rate_limited",
                f"more than {self._rate:g} requests a second. Slow down.",
                headers={"Retry-After": str(wait_s)},
                retryable=True,
            )
