"""Python's cyclic collector, made to look less often while many small objects come and go (docs/decisions/0004).

Always true: however many ask for it at once, the thresholds are those of before when the last one is done.
Called by: engine.worker, engine.producer.
"""

from __future__ import annotations

import gc

SELDOM = (50_000, 20, 50)


class _Seldom:
    """Counts who asked, with `begin` and `end` or as a context manager. Thresholds are the process's, and so is this."""

    def __init__(self) -> None:
        self._wanted = 0
        self._before = SELDOM

    def begin(self) -> None:
        """Look less often from now on."""
        if self._wanted == 0:
            self._before = gc.get_threshold()
            if self._before[0]:  # 0: the application has switched the collector off
                gc.set_threshold(max(self._before[0], SELDOM[0]), *SELDOM[1:])
        self._wanted += 1

    def end(self) -> None:
        """The other end of a `begin`."""
        self._wanted -= 1
        if self._wanted == 0:
            gc.set_threshold(*self._before)

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *_: object) -> None:
        self.end()


seldom = _Seldom()
