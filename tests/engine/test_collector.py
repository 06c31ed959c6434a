"""The cyclic collector looks less often for a while, and then as it did before."""

from __future__ import annotations

import gc

import pytest

from trunkline.engine.collector import seldom


@pytest.fixture(autouse=True)
def as_it_was():
    """Whatever a test leaves behind."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_it_is_put_back_by_the_last_one_who_asked():
    """A worker runs for long and a bulk enqueue beside it for a moment."""
    gc.set_threshold(700, 10, 10)
    seldom.begin()
    with seldom:
        assert gc.get_threshold()[0] >= 50_000
    assert gc.get_threshold()[0] >= 50_000
    seldom.end()
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("own", [(0, 10, 10), (200_000, 5, 5)])
def test_an_application_that_switched_it_off_or_lower_keeps_that(own):
    """Nothing here makes it look more often."""
    gc.set_threshold(*own)
    with seldom:
        assert gc.get_threshold()[0] == own[0]
    assert gc.get_threshold() == own


async def test_a_bulk_enqueue_that_fails_puts_it_back(app):
    """Also when the caller's own iterator raises."""

    def jobs():
        yield app.new_job("k")
        assert gc.get_threshold()[0] >= 50_000
        for _ in range(2000):
            yield app.new_job("k")
        raise KeyError("of the caller")

    before = gc.get_threshold()
    with pytest.raises(KeyError):
        await app.enqueue_many(jobs())
    assert gc.get_threshold() == before
