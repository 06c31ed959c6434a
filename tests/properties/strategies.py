"""What an example may say: flushes of jobs, and marks. Small alphabets, so that keys and priorities meet often."""

from __future__ import annotations

import time
from itertools import count
from uuid import UUID

from hypothesis import strategies as st

from tests.properties.model import POLICIES, QUEUES
from tests.properties.model_verbs import Spec

PRIORITIES = (0, 5, 100)
ENDINGS = ("failed", "fatal", "timed_out", "lost", "snoozed", "retry_after", "released", "no_handler", "cancelled")
ERRORS = (None, '{"message": "one"}', '{"message": "two"}')
DELAYS_S = (0, 100, 1000)
MOVES_S = (100, 200, 300, 700, 3600, 7200)
NOBODY = UUID("01920000-0000-7000-8000-000000000000")  # an id that no job has

_numbers = count(1)


def new_id() -> UUID:
    """A UUIDv7 of now; later ones sort behind earlier ones also within a millisecond, so that a replay is the same."""
    return UUID(int=(int(time.time() * 1000) << 80) | (7 << 76) | (2 << 62) | next(_numbers))


def _maybe(*values: object) -> st.SearchStrategy[object]:
    return st.one_of(st.none(), st.none(), st.sampled_from(values))


kinds = st.sampled_from(sorted(POLICIES, reverse=True))
queues = st.sampled_from(QUEUES)
priorities = st.sampled_from(PRIORITIES)
endings = st.sampled_from(ENDINGS)
errors = st.sampled_from(ERRORS)
delays = st.sampled_from(DELAYS_S)

plain = st.builds(lambda kind, queue, priority: Spec(new_id(), kind, queue, priority), kinds, queues, priorities)
_unique_key = st.sampled_from((None, None, "u", "v"))


@st.composite
def full(draw: st.DrawFn) -> Spec:
    """A job with anything."""
    spec = draw(plain)
    spec = spec._replace(
        idempotency_key=draw(_maybe("i", "j")),
        retry_limit=draw(_maybe(0, 2)),
        timeout=draw(_maybe(150)),
        dead_letter=draw(_maybe("graves")),
        unique_key=draw(_unique_key),
    )
    if spec.idempotency_key:
        spec = spec._replace(idempotency_window=draw(_maybe(100, 1000)))
    if spec.unique_key:
        spec = spec._replace(unique_for=draw(_maybe(3600, 7200)), unique_replace=draw(_maybe(True, False)))
    when = draw(st.sampled_from(("now", "now", "delay", "run_at")))
    if when == "delay":
        return spec._replace(delay=draw(st.sampled_from(DELAYS_S)))
    if when == "run_at":
        return spec._replace(run_at=draw(st.sampled_from((0, 500, 4000))))
    return spec
