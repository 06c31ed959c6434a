"""`Actor`: who acts, and from where: what a row of the audit log says about the one who did it."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from typing import Literal

from trunkline.errors import InvalidInput

Kind = Literal["user", "token", "operator", "system"]
Via = Literal["api", "cli", "socket", "program"]
LONGEST_ID = 500


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts.

    Attributes:
        kind: a user (id: the JWT's sub), a customer token (its id), an operator (the account on the host), the system itself.
        via: the door it came through; `address`: the network address, or the host of an operator.
    """

    kind: Kind
    id: str
    via: Via
    address: str | None = None

    @classmethod
    def named(cls, who: str, address: str | None = None) -> Actor:
        """A person whom the application that embeds us knows by this name.

        Raises:
            InvalidInput: the name is empty, longer than 500 characters, or has U+0000 in it.
        """
        if not isinstance(who, str) or not 1 <= len(who) <= LONGEST_ID or "\x00" in who:
            raise InvalidInput(f"the one who acts is {str(who)[:80]!r}: need a name of 1 to {LONGEST_ID} characters.")
        return cls("user", who, "program", address)

    @classmethod
    def operator(cls) -> Actor:
        """Whoever runs this process from a shell."""
        try:
            name = getpass.getuser()
        except (KeyError, OSError):  # an account without a name
            name = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
        return cls("operator", name, "cli", socket.gethostname())
