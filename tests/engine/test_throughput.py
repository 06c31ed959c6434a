"""How many jobs are claimed ahead of a free slot."""

from __future__ import annotations

import pytest

from trunkline.engine.throughput import BURST, MAX_PREFETCH, PREFETCH_S, SPAN_S, Throughput


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_worker_that_has_seen_nothing_claims_nothing_ahead():
    """Its first jobs may be slow, and another worker free."""
    throughput = Throughput(Clock())
    throughput.look(0)

    assert (0, 1) == (throughput.ahead, throughput.enough(1000))


def test_the_first_claim_of_fast_jobs_tells_the_throughput():
    """A backlog of no-op jobs is claimed ahead of from the second claim on, not after a twentieth of a second."""
    clock = Clock()
    throughput = Throughput(clock)
    clock.now += 0.01
    throughput.look(1000)

    assert (pytest.approx(100_000), MAX_PREFETCH) == (throughput.per_s, throughput.ahead)


def test_a_few_quick_jobs_tell_nothing_yet():
    """They may be the only ones of their sort."""
    clock = Clock()
    throughput = Throughput(clock)
    clock.now += 0.001
    throughput.look(BURST - 1)

    assert 0 == throughput.ahead


def test_a_lump_at_a_known_throughput_does_not_change_it():
    """Jobs end in lumps; only a throughput of another order is believed at once."""
    clock = Clock()
    throughput = Throughput(clock)
    throughput.per_s = 100_000.0
    clock.now += 0.003
    throughput.look(1000)

    assert 100_000.0 == throughput.per_s


def test_a_throughput_from_before_a_quiet_time_is_forgotten():
    """What wakes the worker may be slow: it is not claimed ahead because something else was fast a minute ago."""
    clock = Clock()
    throughput = Throughput(clock)
    clock.now += 0.01
    throughput.look(1000)
    clock.now += 60
    throughput.look(1000)

    assert 0 == throughput.ahead


def test_jobs_that_become_slow_are_soon_not_claimed_ahead():
    """Within a few spans the count follows what ends now."""
    clock = Clock()
    throughput = Throughput(clock)
    clock.now += 0.01
    throughput.look(1000)
    for n in range(1, 16):
        clock.now += SPAN_S * 1.01
        throughput.look(1000 + n)

    assert throughput.ahead == int(throughput.per_s * PREFETCH_S) <= 1
