"""The words of the product as frozen values. Imports nothing else of ours but `errors`."""

from trunkline.model.batch import BatchView
from trunkline.model.endings import Fail, RetryAfter, Snooze
from trunkline.model.job import Claimed, JobView, NewJob, as_uuid, new_job
from trunkline.model.names import checked_name, checked_tenant, kind_name
from trunkline.model.policy import Policy

__all__ = [
    "BatchView",
    "Claimed",
    "Fail",
    "JobView",
    "NewJob",
    "Policy",
    "RetryAfter",
    "Snooze",
    "as_uuid",
    "checked_name",
    "checked_tenant",
    "kind_name",
    "new_job",
]
