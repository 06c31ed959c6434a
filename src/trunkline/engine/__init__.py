"""Moves jobs: gather enqueues, claim to capacity, run, ack in batches, keep leases, do the periodic duties."""

from trunkline.engine.acts import Act, acting
from trunkline.engine.alerts import Alert, Alerts, QueueStates, States
from trunkline.engine.batches import Batches, BatchSent, OpenBatch
from trunkline.engine.context import Job, current_job
from trunkline.engine.declarations import Declarations
from trunkline.engine.flows import Flows
from trunkline.engine.gauges import Gauges
from trunkline.engine.handlers import Handler, Registry, make_handler
from trunkline.engine.heart import Heart
from trunkline.engine.hooks import EVENTS, Extensible, Hooks, JobEvent
from trunkline.engine.limits import Limits
from trunkline.engine.operations import Operations
from trunkline.engine.permits import Permits
from trunkline.engine.privacy import Privacy
from trunkline.engine.producer import Enqueued, Producer
from trunkline.engine.prompts import Prompts
from trunkline.engine.reach import Reach
from trunkline.engine.records import Records
from trunkline.engine.remote import Desk, RemoteWork
from trunkline.engine.retention import Retention
from trunkline.engine.schedules import Schedules
from trunkline.engine.sealing import Sealing
from trunkline.engine.templates import Templates
from trunkline.engine.tenants import Tenants
from trunkline.engine.vault import Vault
from trunkline.engine.waiter import Waiter
from trunkline.engine.worker import Stopped, Worker
from trunkline.store.work import Settled

__all__ = [
    "EVENTS",
    "Act",
    "Alert",
    "Alerts",
    "BatchSent",
    "Batches",
    "Declarations",
    "Desk",
    "Enqueued",
    "Extensible",
    "Flows",
    "Gauges",
    "Handler",
    "Heart",
    "Hooks",
    "Job",
    "JobEvent",
    "Limits",
    "OpenBatch",
    "Operations",
    "Permits",
    "Privacy",
    "Producer",
    "Prompts",
    "QueueStates",
    "Reach",
    "Records",
    "Registry",
    "RemoteWork",
    "Retention",
    "Schedules",
    "Sealing",
    "Settled",
    "States",
    "Stopped",
    "Templates",
    "Tenants",
    "Vault",
    "Waiter",
    "Worker",
    "acting",
    "current_job",
    "make_handler",
]
