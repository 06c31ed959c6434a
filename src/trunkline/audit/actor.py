"""`Actor`: who acts, and from where."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import dataclass
from typing import Literal

Kind = Literal["user", "token", "operator", "system"]
Via = Literal["api", "cli", "socket", "program"]


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
    def operator(cls) -> Actor:
        """Whoever runs this process from a shell."""
        try:
            name = getpass.getuser()
        except (KeyError, OSError):  # an account without a name
            name = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
        return cls("operator", name, "cli", socket.gethostname())
