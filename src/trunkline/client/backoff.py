"""How long to wait before trying again: full jitter, so that many clients of a gateway that died do not come back together."""

from __future__ import annotations

import random
from collections.abc import Callable

BASE_S, CAP_S = 0.25, 15.0


class Backoff:
    """Doubles what it may wait at each `next_s`, up to `cap_s`; the wait itself is anything from 0 to that."""

    def __init__(self, base_s: float = BASE_S, cap_s: float = CAP_S, *, chance: Callable[[], float] = random.random) -> None:
        self._base_s, self._cap_s, self._chance = base_s, cap_s, chance
        self._tries = 0

    def next_s(self) -> float:
        """Seconds to wait now."""
        most_s = min(self._cap_s, self._base_s * 2.0 ** min(self._tries, 30))
        self._tries += 1
        return self._chance() * most_s

    def reset(self) -> None:
        """It went well: the next wait is short again."""
        self._tries = 0
