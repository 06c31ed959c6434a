"""`People`: users as rows: noted at first sight, read and changed by themselves.

Always true: a user that was noted lately with the same claims costs no statement; the memory holds at most MOST users.
Called by: auth.users, rest.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from trunkline.errors import InvalidInput, NotFound
from trunkline.store import Store, people
from trunkline.store.people import Person

MOST = 10_000
AGAIN_S = 3600.0
Said = tuple[str | None, str | None, str | None]


class People:
    """The users of all tenants."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._seen: OrderedDict[tuple[int, str], tuple[float, Said]] = OrderedDict()

    async def see(self, tenant_id: int, user_id: str, claims: dict[str, Any]) -> None:
        """Note a user with what a good token says: email, locale, zoneinfo (OpenID Connect's names)."""
        said = (_text(claims.get("email"), 500), _text(claims.get("locale"), 100), _text(claims.get("zoneinfo"), 100))
        at, before = self._seen.get((tenant_id, user_id), (float("-inf"), (None, None, None)))
        if said == before and self._clock() - at < AGAIN_S:
            return
        await people.see(self._store, tenant_id, user_id, *said)
        self._seen[tenant_id, user_id] = (self._clock(), said)
        self._seen.move_to_end((tenant_id, user_id))
        while len(self._seen) > MOST:
            self._seen.popitem(last=False)

    async def get(self, tenant_id: int, user_id: str) -> Person:
        """A user; NotFound where none of that id was ever seen."""
        found = await people.get(self._store, tenant_id, user_id)
        if found is None:
            raise NotFound("there is no such user in this tenant.")
        return found

    @staticmethod
    async def choose(store: Store, tenant_id: int, user_id: str, chosen: dict[str, str | None]) -> None:
        """Set what the user chose, in the transaction of `store`; None goes back to the identity provider's.

        Args:
            chosen: locale and time_zone, either or both.
        Raises:
            InvalidInput: no such time zone, or a locale that can be none.
        """
        locale = chosen.get("locale")
        if locale is not None and not all(
            1 <= len(part) <= 8 and part.isalnum() and part.isascii() for part in locale.replace("_", "-").split("-")
        ):
            raise InvalidInput(f"locale is {locale[:80]!r}: need a language tag such as en-GB.")
        if not await people.change(store, tenant_id, user_id, chosen):
            raise NotFound("there is no such user in this tenant.")


def _text(value: object, longest: int) -> str | None:
    """A claim that is usable text; anything else was not said."""
    if isinstance(value, str) and 1 <= len(value) <= longest and value.isprintable():
        return value
    return None
