"""Ready job types. Each has a payload model, a policy and a `register(app)`; a worker declares those it wants.

Always true: `BUILT_IN` lists every one of them; importing this room needs no extra.
"""

from trunkline.jobtypes import schema_rebuild

BUILT_IN = (schema_rebuild.register,)

# They touch databases and files: for users and administrators, never for a plain customer token.
RESERVED = frozenset({schema_rebuild.KIND})

__all__ = ["BUILT_IN", "RESERVED", "schema_rebuild"]
