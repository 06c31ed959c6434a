"""How a kind of job is retried and how long one attempt may take."""

from __future__ import annotations

from dataclasses import dataclass

from trunkline.errors import InvalidInput
from trunkline.model.names import checked_name

YEAR_S = 31_536_000.0


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy of a kind; every field can be overridden by one job's options.

    Attributes:
        retry_limit: retries after the first attempt, 0..1000; `limit + 1` attempts in all.
        retry_delay_s: seconds before the first retry.
        retry_backoff: whether each further delay is twice the one before: delay, 2 delay, 4 delay, ...
        retry_max_delay_s: cap of a delay, seconds, before jitter.
        retry_jitter: 0..1; a delay grows by a random share of up to this much.
        timeout_s: seconds one attempt may take, counted from its claim.
        dead_letter: queue that receives a copy of each job that ends failed; None: no copy.
        concurrency: how many jobs of the kind may run at once in a tenant, 1..1,000,000; None: any number.
        rate: how many may start in a second, `burst` more at once; None: any number.
        key_concurrency, key_rate, key_burst: the same for the jobs of the kind that share a limit key.
    """

    retry_limit: int = 3
    retry_delay_s: float = 2.0
    retry_backoff: bool = True
    retry_max_delay_s: float = 3600.0
    retry_jitter: float = 0.0
    timeout_s: float = 1800.0
    dead_letter: str | None = None
    concurrency: int | None = None
    rate: float | None = None
    burst: int = 0
    key_concurrency: int | None = None
    key_rate: float | None = None
    key_burst: int = 0

    def __post_init__(self) -> None:
        whole("retry_limit", self.retry_limit, 0, 1000)
        seconds_within("retry_delay", self.retry_delay_s, 0, YEAR_S)
        seconds_within("retry_max_delay", self.retry_max_delay_s, 0, YEAR_S)
        in_range("retry_jitter", self.retry_jitter, 0, 1)
        seconds_within("timeout", self.timeout_s, 0.01, 30 * 86400.0)
        if self.dead_letter is not None:
            checked_name("dead_letter queue", self.dead_letter)
        for name, concurrency in (("concurrency", self.concurrency), ("key_concurrency", self.key_concurrency)):
            if concurrency is not None:
                whole(name, concurrency, 1, 1_000_000)
        for name, rate in (("rate", self.rate), ("key_rate", self.key_rate)):
            if rate is not None:
                starts(name, rate)
        whole("burst", self.burst, 0, 1_000_000)
        whole("key_burst", self.key_burst, 0, 1_000_000)
        for name, burst, rate in (("burst", self.burst, self.rate), ("key_burst", self.key_burst, self.key_rate)):
            if burst and rate is None:
                raise InvalidInput(f"{name} is {burst} and {name.replace('burst', 'rate')} is not given: a burst belongs to a rate.")


def in_range(name: str, value: object, low: float, high: float) -> float:
    """`value` as a number within low..high.

    Raises:
        InvalidInput: names the argument, the value and the range.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InvalidInput(f"{name} is {value!r}: need a number from {_plainly(low)} to {_plainly(high)}.")
    return value


def seconds_within(name: str, value: object, low: float, high: float) -> float:
    """The same for a time, in seconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InvalidInput(f"{name} is {value!r}: need a number of seconds from {_plainly(low)} to {_plainly(high)} ({_span(high)}).")
    return value


def starts(name: str, value: object) -> float:
    """The same for a rate, in starts a second."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 / YEAR_S <= value <= 1_000_000:
        raise InvalidInput(f"{name} is {value!r}: need a number of starts a second, at least one a year and at most 1,000,000 a second.")
    return value


def _plainly(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:g}"


def _span(seconds: float) -> str:
    days = seconds / 86400
    return f"{days:g} days" if days < 365 else "1 year" if days < 730 else f"{days / 365:g} years"


def whole(name: str, value: object, low: float, high: float) -> int:
    """`value` as an integer within low..high; a number with a fraction is none, and neither is 2.0.

    Raises:
        InvalidInput: names the argument, the value and the range.
    """
    if value.__class__ is not int or not low <= value <= high:
        raise InvalidInput(f"{name} is {value!r}: need an integer from {_plainly(low)} to {_plainly(high)}.")
    return value
