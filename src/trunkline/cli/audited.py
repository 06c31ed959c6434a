"""What an operator changes from the command line: one transaction with the rows that say who did.

Called by: commands that change something.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trunkline.app import Trunkline
    from trunkline.engine import Act


def audited(app: Trunkline) -> AbstractAsyncContextManager[Act]:
    """An act of whoever runs this command: everything in the block, or nothing of it."""
    from trunkline.model.actor import Actor

    return app.acting(Actor.operator())
