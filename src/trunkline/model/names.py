"""The names people choose: what is accepted, checked before anything is written.

The same rules stand in sql/functions/10_names.sql for producers that speak SQL.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from trunkline.errors import InvalidInput

_NAME = re.compile(r"[^/\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,200}")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def shown(value: object) -> str:
    """A value as a refusal names it: bounded, and a number is no text."""
    return repr(value[:80]) if isinstance(value, str) else repr(value)[:80]


def checked_name(what: Literal["kind", "queue", "dead_letter queue", "schedule", "template", "connection"], name: object) -> str:
    """`name` if it can name a kind or queue: 1 to 200 characters, no "/" and no control characters.

    Raises:
        InvalidInput: names the value and what is accepted.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInput(f'{what} name {shown(name)}: need 1 to 200 characters without "/" and control characters.')
    return name


def kind_name(name: object) -> str:
    """The kind's one name: `ai_generation` and `ai-generation` are the same kind."""
    return _kind_name(name) if name.__class__ is str else checked_name("kind", name)


@lru_cache(1024)  # an application has few kinds and many jobs
def _kind_name(name: str) -> str:
    return checked_name("kind", name).replace("_", "-")


def checked_tenant(name: object) -> str:
    """`name` if it can name a tenant: 1 to 63 of A-Z a-z 0-9 . _ -, starting with a letter or digit."""
    if not isinstance(name, str) or not _TENANT.fullmatch(name):
        raise InvalidInput(f"tenant name {shown(name)}: need 1 to 63 of A-Z a-z 0-9 . _ -, starting with a letter or digit.")
    return name
