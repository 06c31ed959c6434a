"""Who asks: the one value that every door works with.

Always true: the tenant comes from here and never from a message; what a principal may do is its scopes and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from trunkline.errors import Forbidden, InvalidInput
from trunkline.model.actor import Actor, Via

Scope = Literal["send", "work", "watch", "admin"]
SCOPES: tuple[Scope, ...] = ("send", "work", "watch", "admin")


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody a door let in.

    Attributes:
        tenant_id, tenant: whose jobs; number and name.
        scopes: send jobs, work on them, watch them; `admin` includes all of these, and acting for any user of the tenant.
        user_id: a person, or None for a machine.
        token_id: the customer token, or None for a user's JWT.
        expires_at: when this ends by itself; None: never.
    """

    tenant_id: int
    tenant: str
    scopes: frozenset[Scope]
    user_id: str | None = None
    token_id: UUID | None = None
    expires_at: datetime | None = None

    @property
    def is_admin(self) -> bool:
        """Whether it may act for every user of its tenant."""
        return "admin" in self.scopes

    def actor(self, via: Via, address: str | None) -> Actor:
        """The same for the audit log: its token, or else the user."""
        if self.token_id is not None:
            return Actor("token", str(self.token_id), via, address)
        return Actor("user", str(self.user_id), via, address)

    def may(self, scope: Scope) -> bool:
        """Whether it has a scope."""
        return scope in self.scopes or self.is_admin

    def require(self, *scopes: Scope) -> None:
        """Let it pass with any of these scopes, or not.

        Raises:
            Forbidden: names the scopes of which one is missing.
        """
        if not any(self.may(scope) for scope in scopes):
            has = ", ".join(sorted(self.scopes)) or "none"
            raise Forbidden(f"this needs the scope {' or '.join(map(repr, scopes))}, and there is {has}. Ask with a token that has it.")


def checked_scopes(scopes: Iterable[str]) -> list[Scope]:
    """The scopes, each once and in the order of SCOPES.

    Raises:
        InvalidInput: one is unknown, or there is none.
    """
    given = set(scopes)
    found: list[Scope] = [scope for scope in SCOPES if scope in given]
    if not found or given - set(SCOPES):
        raise InvalidInput(f"scopes are {', '.join(sorted(given)) or 'none'}: need some of {', '.join(SCOPES)}.")
    return found
