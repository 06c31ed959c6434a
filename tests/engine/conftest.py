"""What several modules here do by hand."""

from __future__ import annotations

import pytest

from trunkline import Trunkline
from trunkline.engine import Heart
from trunkline.engine.scheduler import Scheduler


@pytest.fixture
def duty(app: Trunkline) -> Scheduler:
    """What a worker process does when a schedule is due, by hand."""
    return Scheduler(app.store, Heart(app.store))
