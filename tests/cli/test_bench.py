"""`trunkline bench` is mounted, not imported."""

from __future__ import annotations

import sys

import pytest

from tests.cli.conftest import Offline


def test_its_arguments_are_those_of_the_room_that_measures(offline: Offline):
    """Help included."""
    answer = offline("bench", "--help")

    assert 0 == answer.code and "Usage: trunkline bench" in answer.out and "--large" in answer.out
    assert 2 == offline("bench", "--no-such-flag").code


def test_an_installation_without_it_says_so(offline: Offline, monkeypatch: pytest.MonkeyPatch):
    """Instead of a traceback."""
    monkeypatch.setitem(sys.modules, "trunkline.measure.command", None)
    answer = offline("bench")

    assert 1 == answer.code and "the benchmarks are not part of this installation" in answer.err
