"""Ready job types. Each has a payload model, a policy and a `register(app)`; a worker declares those it wants.

Always true: `BUILT_IN` lists every one of them; importing this room needs no extra.
"""

from typing import Any

from trunkline.errors import InvalidInput
from trunkline.jobtypes import (
    ai_generation,
    analytics_report,
    backup_connection,
    bulk_import,
    crm_sync,
    data_export,
    lead_import,
    schema_rebuild,
)
from trunkline.jobtypes.files import Download, Files

_ALL = (schema_rebuild, data_export, bulk_import, lead_import, backup_connection, analytics_report, ai_generation, crm_sync)
BUILT_IN = tuple(module.register for module in _ALL)

# They touch databases and files: for users and administrators, never for a plain customer token.
RESERVED = frozenset(module.KIND for module in _ALL if module is not ai_generation)


def declare(app: Any, *kinds: str) -> None:
    """Declare ready job types on an application, by kind; none named: all of them.

    Raises:
        InvalidInput: there is no such kind among them, or the application declares it already.
    """
    known = {module.KIND: module.register for module in _ALL}
    for kind in kinds or known:
        if kind not in known:
            raise InvalidInput(f"{kind!r} is no ready job type. There are: {', '.join(known)}.")
        known[kind](app)


__all__ = ["BUILT_IN", "RESERVED", "Download", "Files", "declare", "schema_rebuild"]
