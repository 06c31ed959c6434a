"""One Python function per SQL function, and the only room that knows the driver."""

from trunkline.store.pool import Store
from trunkline.store.signals import Signals

__all__ = ["Signals", "Store"]
