"""The job type `lead-import`: `bulk-import` for people one wants to reach: e-mail and phone checked, doubles found.

Payload: as bulk-import, and {emailColumn?, phoneColumn?, defaultRegion?, requireContact?, dedupe?, onDuplicate?}.
Always true: an address that is stored has a form that mail can be sent to, with its domain in lower case; a phone number that is
stored is E.164; two rows of one file never make two leads, nor does one that is in the table already. Somebody else who writes
leads at the same moment is kept out only by a unique index of the table.
Called by: engine. Calls: imports.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from trunkline.engine import Job
from trunkline.jobtypes.application import Application
from trunkline.jobtypes.imports.order import ImportOrder, carried_out
from trunkline.model import Fail

KIND = "lead-import"
POLICY: dict[str, Any] = {"retry_limit": 2, "retry_delay": 2, "retry_backoff": True, "timeout": 12 * 3600}  # maxAttempts 3, 2^n seconds


class LeadOrder(ImportOrder):
    """What to bring where, and what makes two leads one."""

    email_column: str | None = Field("email", max_length=200)  # of the table; None: it has none
    phone_column: str | None = Field("phone", max_length=200)
    default_region: str | None = Field(None, pattern=r"^[A-Z]{2}$")  # country of numbers without +
    require_contact: bool = True  # a lead without e-mail and phone is refused
    dedupe: list[Literal["email", "phone"]] = Field(default=["email"], max_length=2)
    on_duplicate: Literal["skip", "reject", "update"] = "skip"

    @model_validator(mode="after")
    def _has_what_it_compares(self) -> LeadOrder:
        if ("email" in self.dedupe and self.email_column is None) or ("phone" in self.dedupe and self.phone_column is None):
            raise ValueError("dedupe compares a column that is null: name it, or leave it out of dedupe")
        if self.mode != "insert" and self.dedupe:
            raise ValueError("mode is insert where dedupe decides: set dedupe to [] to write by key")
        return self


def register(app: Application) -> None:
    """Declare the handler of `lead-import` on `app`."""

    @app.job(KIND, tenants="all", **POLICY)
    async def lead_import(job: Job, payload: LeadOrder) -> dict[str, Any]:
        """Write the leads of a file into a table."""
        return await carried_out(app, job, payload, lambda: _work(payload))


def _work(payload: LeadOrder) -> Any:
    try:
        from trunkline.jobtypes.imports.leads import Leads
    except ImportError as error:
        raise Fail(f"{KIND} needs the package {error.name}. Install trunkline[leads,schema] and retry the job.") from None
    return Leads(
        email=payload.email_column,
        phone=payload.phone_column,
        region=payload.default_region,
        require_contact=payload.require_contact,
        dedupe=[
            column
            for name, column in (("email", payload.email_column), ("phone", payload.phone_column))
            if column and name in payload.dedupe
        ],
        on_duplicate=payload.on_duplicate,
    ).work()
