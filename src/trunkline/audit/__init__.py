"""Who did what, on what, when and from where: append-only, written in the transaction of the act.

Always true: a row exists if and only if its act does; nobody but the sweep of old rows deletes one, and nobody changes one.
Called by: rest, gateway, cli.
"""

from trunkline.audit.actor import Actor
from trunkline.audit.log import Audit, Noted

__all__ = ["Actor", "Audit", "Noted"]
