"""Ready job types. Each has a payload model, a policy and a `register(app)`; a worker declares those it wants.

Always true: `BUILT_IN` lists every one of them; importing this room needs no extra.
"""

from trunkline.jobtypes import schema_rebuild

BUILT_IN = (schema_rebuild.register,)

__all__ = ["BUILT_IN", "schema_rebuild"]
