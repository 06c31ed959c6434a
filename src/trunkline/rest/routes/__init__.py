"""The routes, one file for each resource.

Called by: rest.asgi, doors.
"""

from fastapi import APIRouter

from trunkline.rest.api import Api
from trunkline.rest.route import door
from trunkline.rest.routes import audit, bulk, connections, files, health, jobs, me, queues, schedules, templates, tokens

RESOURCES = (
    bulk,
    jobs,
    schedules,
    templates,
    queues,
    connections,
    files,
    tokens,
    audit,
    me,
    health,
)  # a resource is a module with `add(api, router)`


def router(api: Api) -> APIRouter:
    """Every route under /api, for any FastAPI or Starlette application."""
    made = APIRouter(prefix="/api", route_class=door(api), redirect_slashes=False)
    for resource in RESOURCES:
        resource.add(api, made)
    return made
