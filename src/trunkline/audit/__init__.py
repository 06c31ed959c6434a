"""Who did what, on what, when and from where: append-only, written in the transaction of the act.

Always true: a row exists if and only if its act does; nobody but the sweep of old rows deletes one, and nobody changes one.
Called by: rest, cli.
"""

from trunkline.audit.log import INSTALLATION, Audit
from trunkline.model.actor import Actor
from trunkline.store.audit import Noted

__all__ = ["INSTALLATION", "Actor", "Audit", "Noted"]
