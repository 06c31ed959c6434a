"""One short text that is equal exactly when two readings say the same.

Always true: it depends on names, types, keys and comments, and not on row estimates, key order in JSON, the process,
or the time. It is a sha256 in hexadecimal: 64 characters.
"""

from __future__ import annotations

import hashlib

import msgspec

from trunkline.jobtypes.schema.shape import Reading


def fingerprint(reading: Reading) -> str:
    """sha256 over the canonical JSON (sorted keys, no spaces, UTF-8) of everything that does not move by itself."""
    still = msgspec.structs.replace(
        reading,
        tables=tuple(msgspec.structs.replace(table, estimated_rows=None) for table in reading.tables),
    )
    return hashlib.sha256(msgspec.json.encode(still, order="deterministic")).hexdigest()
