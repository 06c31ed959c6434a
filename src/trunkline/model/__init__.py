"""The words of the product as frozen values. Imports nothing else of ours but `errors`."""

from trunkline.model.batch import BatchView
from trunkline.model.endings import Fail, RetryAfter, Snooze
from trunkline.model.job import Claimed, JobView, NewJob, as_uuid, as_uuids, aware, new_job
from trunkline.model.kept import ScheduleView, TemplateView, checked_kept
from trunkline.model.names import checked_name, checked_tenant, kind_name
from trunkline.model.policy import Policy
from trunkline.model.rule import Rule, checked_rule

__all__ = [
    "BatchView",
    "Claimed",
    "Fail",
    "JobView",
    "NewJob",
    "Policy",
    "RetryAfter",
    "Rule",
    "ScheduleView",
    "Snooze",
    "TemplateView",
    "as_uuid",
    "as_uuids",
    "aware",
    "checked_kept",
    "checked_name",
    "checked_rule",
    "checked_tenant",
    "kind_name",
    "new_job",
]
