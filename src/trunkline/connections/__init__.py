"""Databases that people registered with us: which id stands for which URL, and what was last read there.

Always true: a URL is never part of a payload, an error or a log line unmasked; only an id travels.
"""

from trunkline.connections.cache import Kept, SchemaCache
from trunkline.connections.registry import Connection, Dialect, resolve, variable_of
from trunkline.connections.service import Connections, Rebuild

__all__ = ["Connection", "Connections", "Dialect", "Kept", "Rebuild", "SchemaCache", "resolve", "variable_of"]
