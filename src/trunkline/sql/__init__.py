"""Every queue semantic, as SQL: `migrations/` run once and forward only, `functions/` are replaced when their text changes.

Always true: the files are valid SQL for the schema `trunkline`; `render` puts another schema name in its place and
changes nothing else.
Called by: store.migrate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

# The settings 'trunkline.tenant_id' and 'trunkline.secret_fields' keep their names in every schema: users and functions agree on them.
_QUALIFIER = re.compile(r"(?<!')\btrunkline\.")
_SCHEMA = re.compile(r"\bschema (if not exists )?trunkline\b")
_ROLE = re.compile(r"\btrunkline_(worker|app)\b")
_CHANNEL = re.compile(r"'trunkline:")
_CATALOG = re.compile(
    r"'trunkline\.(?!(?:tenant_id|secret_fields)')"
)  # names inside strings: format('trunkline.%I'), 'trunkline.job'::regclass
_CODE = re.compile(r"^-- Works with code from: (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SqlFile:
    """One file: its name without ending, its text, and the SHA-256 of that text."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text as shipped, in hexadecimal."""
        return sha256(self.text.encode()).hexdigest()

    @property
    def works_from(self) -> str:
        """Oldest version of this package that works after the migration, such as "0.1"."""
        found = _CODE.search(self.text)
        return found.group(1) if found else "0"


def render(text: str, schema: str) -> str:
    """The same SQL for the schema `schema` (lower-case letters, digits and underscores)."""
    if schema == "trunkline":
        return text
    text = _QUALIFIER.sub(f"{schema}.", text)
    text = _SCHEMA.sub(rf"schema \1{schema}", text)
    text = _CHANNEL.sub(f"'{schema}:", text)
    text = _CATALOG.sub(f"'{schema}.", text)
    return _ROLE.sub(rf"{schema}_\1", text)


@cache
def migrations() -> tuple[SqlFile, ...]:
    """All migrations in the order in which they run."""
    return _read("migrations")


@cache
def functions() -> tuple[SqlFile, ...]:
    """All function files in the order in which they are applied."""
    return _read("functions")


def _read(folder: str) -> tuple[SqlFile, ...]:
    found = [entry for entry in files(__package__).joinpath(folder).iterdir() if entry.name.endswith(".sql")]
    return tuple(SqlFile(entry.name[:-4], entry.read_text("utf-8")) for entry in sorted(found, key=lambda entry: entry.name))
