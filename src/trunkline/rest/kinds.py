"""Who may send jobs of which kind.

Called by: rest.routes.
"""

from __future__ import annotations

from trunkline.errors import Forbidden
from trunkline.model import kind_name
from trunkline.rest.asking import Asked


def check_kind(asked: Asked, kind: str) -> None:
    """Forbidden where a plain customer token may not send this kind: one that touches databases or files."""
    if kind_name(kind) in asked.api.reserved and asked.principal.user_id is None and not asked.principal.is_admin:
        raise Forbidden(f"jobs of type {kind[:80]!r} are for users and for the scope 'admin'. Ask with such a token.")
