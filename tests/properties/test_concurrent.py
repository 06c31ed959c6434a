"""Many processes at once, without a model of their order: what holds in every snapshot, and what must be true in the end."""

from __future__ import annotations

import os
from random import SystemRandom

import pytest

from tests.properties.crowd import Crowd
from tests.properties.world import World


def _rush(world: World, seed: int, processes: int, steps: int) -> None:
    print(f"seed {seed}: repeat with TRUNKLINE_TEST_SEED={seed}")
    crowd = Crowd(world, seed)
    world.run(crowd.rush(processes, steps))
    world.run(crowd.verify())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_crowd_loses_nothing_and_is_told_the_truth(world, seed):
    """Accepted is terminal plus live, each attempt is handed out once, completed is what was acknowledged."""
    _rush(world, int(os.environ.get("TRUNKLINE_TEST_SEED", seed)), processes=8, steps=400)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_many_crowds_lose_nothing(world):
    """The same with seeds that nobody has seen."""
    for _ in range(40):
        _rush(world, SystemRandom().randrange(10**9), processes=12, steps=250)
