"""Users in the database (sql/functions/76_people.sql).

Called by: auth.users, auth.people.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from trunkline.store.pool import Store

SEE = "select trunkline.see_user($1, $2, $3, $4, $5)"
SET = "select trunkline.set_user($1, $2, $3, $4, $5)"
GET = """select user_id, email, coalesce(own_locale, locale), coalesce(own_time_zone, time_zone), first_seen_at, last_seen_at
  from trunkline.app_user where tenant_id = $1 and user_id = $2"""


class Person(NamedTuple):
    """A user; locale and time zone are those the user chose, else what the identity provider says."""

    user_id: str
    email: str | None
    locale: str | None
    time_zone: str | None
    first_seen_at: datetime
    last_seen_at: datetime


async def see(store: Store, tenant_id: int, user_id: str, email: str | None, locale: str | None, time_zone: str | None) -> None:
    """Note that a user was seen, and what the token says; None keeps what is known."""
    await store.fetch(SEE, tenant_id, user_id, email, locale, time_zone)


async def change(store: Store, tenant_id: int, user_id: str, chosen: dict[str, str | None]) -> bool:
    """Set locale and time_zone as far as they are in `chosen`; None goes back to the provider's. False: no such user."""
    return bool(await store.fetchval(SET, tenant_id, user_id, list(chosen), chosen.get("locale"), chosen.get("time_zone")))


async def get(store: Store, tenant_id: int, user_id: str) -> Person | None:
    """A user, or None."""
    row = await store.fetchrow(GET, tenant_id, user_id)
    return None if row is None else Person(*row)
