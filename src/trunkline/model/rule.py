"""`Rule`: when a schedule is due. Cron and its daylight-saving rules are cronsim's, time zones are zoneinfo's.

Always true: times come strictly after one another, aware and in UTC; the same rule asked from any moment on names the same
times, so whoever computes them agrees with everybody else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from trunkline.errors import InvalidInput
from trunkline.model.policy import YEAR_S, seconds_within

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Rule:
    """One of cron, interval and moment. Make one with `checked_rule`.

    Attributes:
        cron: five fields (minute hour day month weekday), or six with seconds first; names, L, LW, # as cronsim knows them.
        every_s: seconds between firings, counted from `starts_at`: elapsed time, so no time zone matters.
        at: the one moment.
        time_zone: IANA name in which cron is read.
        starts_at: of an interval: its first firing, or where it was created; None counts from 1970.
    """

    cron: str | None = None
    every_s: float | None = None
    at: datetime | None = None
    time_zone: str = "UTC"
    starts_at: datetime | None = None

    def after(self, moment: datetime) -> datetime | None:
        """The first time later than `moment`; None: never again (cron: not within 50 years)."""
        return next(self.times(moment), None)

    def times(self, moment: datetime) -> Iterator[datetime]:
        """Every time later than `moment`, in order."""
        if self.at is not None:
            return iter([self.at.astimezone(UTC)] if self.at > moment else [])
        return self._elapsed(moment) if self.every_s is not None else self._cron(moment)

    def latest(self, first: datetime, until: datetime, most: int) -> list[datetime]:
        """The last `most` times from `first`, which is one of them, to `until`, in order.

        Looks in windows that grow backwards: a rule of every second that nobody attended to for a month costs a few hundred steps.
        """
        window = timedelta(minutes=1)
        while True:
            begin = max(first, until - window)
            found: deque[datetime] = deque([first] if begin == first else [], maxlen=most)
            for time in self.times(begin):
                if time > until:
                    break
                found.append(time)
            if begin == first or len(found) == most:
                return list(found)
            window *= 4

    def local(self, time: datetime) -> datetime:
        """A time as the clocks of the rule's zone show it."""
        return time.astimezone(_zone(self.time_zone))

    def _elapsed(self, moment: datetime) -> Iterator[datetime]:
        assert self.every_s is not None
        start, step = self.starts_at or EPOCH, timedelta(seconds=self.every_s)
        time = start if moment < start else start + ((moment - start) // step + 1) * step
        while True:
            yield time.astimezone(UTC)
            time += step

    def _cron(self, moment: datetime) -> Iterator[datetime]:
        assert self.cron is not None
        # Debian's rules for changes of the clock are for five fields; a leading second 0 says no more than they do.
        cron = self.cron[2:] if self.cron.startswith("0 ") and len(self.cron.split()) == 6 else self.cron
        try:
            simulated = CronSim(cron, moment.astimezone(_zone(self.time_zone)))
            # cron repeats nothing in the hour that a change of clocks repeats: asked from within it, cronsim begins with times
            # of its first pass, which are over.
            for time in simulated:
                if (utc := time.astimezone(UTC)) > moment:
                    yield utc
                    moment = utc
        except (CronSimError, AssertionError, ValueError, OverflowError) as error:
            raise InvalidInput(f"cron expression {self.cron[:80]!r}: {str(error) or 'it cannot be read'}. {CRON_FORM}") from None


CRON_FORM = "Need minute hour day month weekday, such as 0 3 * * MON-FRI, or seconds in front of them."


def checked_rule(
    cron: str | None = None,
    *,
    every: float | timedelta | None = None,
    at: datetime | None = None,
    tz: str = "UTC",
    start: datetime | None = None,
) -> Rule:
    """A rule that can be kept.

    Raises:
        InvalidInput: none or several of cron, every and at; an expression that cannot be read or never comes true; an unknown
            time zone; an interval outside 1 s to 10 years; a time without a time zone.
    """
    if sum(value is not None for value in (cron, every, at)) != 1:
        raise InvalidInput("a schedule needs one rule: cron, every or at.")
    for name, value in (("at", at), ("start", start)):
        if value is not None and (not isinstance(value, datetime) or value.tzinfo is None):
            raise InvalidInput(f"{name} is {value!r}: need a datetime with a time zone, such as datetime.now(UTC).")
    if start is not None and every is None:
        raise InvalidInput("start is given without every: it is where an interval is counted from.")
    _zone(tz if isinstance(tz, str) else "")
    if every is not None:
        seconds = every.total_seconds() if isinstance(every, timedelta) else every
        return Rule(every_s=seconds_within("every", seconds, 1, 10 * YEAR_S), time_zone=tz, starts_at=start)
    if cron is None:
        return Rule(at=at, time_zone=tz)
    if not isinstance(cron, str) or len(cron) > 200:
        raise InvalidInput(f"cron expression {str(cron)[:80]!r}: need text of at most 200 characters. {CRON_FORM}")
    rule = Rule(cron=" ".join(cron.split()), time_zone=tz)
    if rule.after(datetime.now(UTC)) is None:
        raise InvalidInput(f"cron expression {cron!r} never comes true: no such day within 50 years.")
    return rule


@lru_cache(1024)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; a path out of the data; a folder of it
        raise InvalidInput(f"time zone {name[:80]!r}: need an IANA name such as Europe/Berlin.") from None
