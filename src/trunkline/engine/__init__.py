"""Moves jobs: gather enqueues, claim to capacity, run, ack in batches, keep leases, do the periodic duties."""

from trunkline.engine.context import Job, current_job
from trunkline.engine.handlers import Handler, Registry, make_handler
from trunkline.engine.heart import Heart
from trunkline.engine.operations import Operations
from trunkline.engine.producer import Enqueued, Producer
from trunkline.engine.reach import Reach
from trunkline.engine.retention import Retention
from trunkline.engine.tenants import Tenants
from trunkline.engine.waiter import Waiter
from trunkline.engine.worker import Stopped, Worker

__all__ = [
    "Enqueued",
    "Handler",
    "Heart",
    "Job",
    "Operations",
    "Producer",
    "Reach",
    "Registry",
    "Retention",
    "Stopped",
    "Tenants",
    "Waiter",
    "Worker",
    "current_job",
    "make_handler",
]
