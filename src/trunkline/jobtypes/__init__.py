"""Ready job types. Each has a payload model, a policy and a `register(app)`; a worker declares those it wants.

Always true: `BUILT_IN` lists every one of them; importing this room needs no extra.
"""

from trunkline.jobtypes import analytics_report, backup_connection, bulk_import, data_export, lead_import, schema_rebuild
from trunkline.jobtypes.files import Download, Files

_ALL = (schema_rebuild, data_export, bulk_import, lead_import, backup_connection, analytics_report)
BUILT_IN = tuple(module.register for module in _ALL)

# They touch databases and files: for users and administrators, never for a plain customer token.
RESERVED = frozenset(module.KIND for module in _ALL)

__all__ = ["BUILT_IN", "RESERVED", "Download", "Files", "schema_rebuild"]
