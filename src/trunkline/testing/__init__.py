"""Helpers for tests of applications that use Trunkline: a database per test, a clock that moves, a worker that drains."""

from trunkline.testing.clock import DatabaseClock

__all__ = ["DatabaseClock"]
