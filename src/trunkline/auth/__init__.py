"""Token or JWT in, `Principal(tenant, user, scopes)` out; and word when somebody is to leave.

`auth.users` (JWTs) is imported by whoever needs it: it wants PyJWT, which is in the extra `server`.
"""

from trunkline.auth.customers import Customers
from trunkline.auth.mode import Mode, is_loopback, mode_of, prepare
from trunkline.auth.principal import SCOPES, Principal, Scope
from trunkline.auth.revocations import Revocations
from trunkline.auth.tokens import Tokens, token_hash
from trunkline.store.tokens import TokenView

__all__ = [
    "SCOPES",
    "Customers",
    "Mode",
    "Principal",
    "Revocations",
    "Scope",
    "TokenView",
    "Tokens",
    "is_loopback",
    "mode_of",
    "prepare",
    "token_hash",
]
