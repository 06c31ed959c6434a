"""What a handler can say besides a result or an exception: raise one of these, or return it.

`Snooze` and `RetryAfter` count no failure; `Fail` is never retried.
"""

from __future__ import annotations

from trunkline.model.policy import YEAR_S, seconds_within


class Snooze(Exception):
    """Run this job again in `seconds`; nothing went wrong."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"snoozed for {seconds:g} s")
        self.seconds = seconds_within("Snooze", seconds, 0, YEAR_S)


class RetryAfter(Exception):
    """A provider said to come back in `seconds` (FLOOD_WAIT, 429); counts as no failure.

    With `key=True` nothing else with the job's limit key starts before, in any process: the account has to wait, not this job.
    """

    def __init__(self, seconds: float, reason: str = "", *, key: bool = False) -> None:
        super().__init__(reason or f"the provider asked to wait {seconds:g} s")
        self.seconds = seconds_within("RetryAfter", seconds, 0, YEAR_S)
        self.key = key


class Fail(Exception):
    """End this job as failed, now and for good."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
