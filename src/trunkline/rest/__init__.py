"""HTTP JSON over the services of an application. Errors are problem+json.

`Api` is one per process; `rest.asgi` makes an ASGI application of it, `rest.routes` a router for somebody else's.
Extra: trunkline[server]. Called by: doors.
"""

from trunkline.rest.api import Api

__all__ = ["Api"]
