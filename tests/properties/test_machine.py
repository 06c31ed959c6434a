"""The queue against a model of it: any order of calls by several processes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.machine import Machine

# Derandomized: the same examples each time, so that a red run is about the change at hand. The long runs look further.
SHORT = settings(
    max_examples=80,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(SHORT, max_examples=1500, stateful_step_count=80, derandomize=False, phases=[Phase.generate, Phase.shrink])


@pytest.mark.timeout(900)  # a green run takes 20 s; a red one takes minutes to make its example small
def test_any_order_of_calls_does_what_the_model_says(world):
    """Where each job stands, what each call answers, and that nobody else's row is touched."""
    run_state_machine_as_test(lambda: Machine(world), settings=SHORT)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_any_order_of_calls_does_what_the_model_says_for_long(world):
    """The same with other examples each time."""
    run_state_machine_as_test(lambda: Machine(world), settings=LONG)
