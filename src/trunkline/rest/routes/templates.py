"""/api/templates: named types with payload and options that jobs start from."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from trunkline.engine import Act
from trunkline.errors import Forbidden, NotFound
from trunkline.model import TemplateView
from trunkline.rest import answers, recurring
from trunkline.rest.acting import once
from trunkline.rest.answers import json_answer
from trunkline.rest.api import Api
from trunkline.rest.kinds import check_kind
from trunkline.rest.messages import NewTemplate
from trunkline.rest.openapi import describe
from trunkline.rest.paging import Limit, PageNumber, sliced
from trunkline.rest.route import asked_of
from trunkline.wire import payload_text

SENT = {"name": "thumbnail", "type": "resize", "payload": {"width": 80}, "options": {"priority": 5}}


def add(api: Api, router: APIRouter) -> None:
    """Its routes."""

    @router.post(
        "/templates",
        tags=["templates"],
        **describe(recurring.Template, status=201, also={200: recurring.Template}, body=NewTemplate, creates=True, sent=SENT),
    )
    async def save_template(request: Request) -> Response:
        """Make a template, or replace the one of that name (200)."""
        asked = asked_of(request)
        asked.require_tenant("send")
        raw, wanted = await asked.body(NewTemplate)
        options = wanted.options.given()
        if options.get("user_id") is not None and not asked.principal.is_admin:
            raise Forbidden("options.userId needs the scope 'admin'. Leave it out, or ask with such a token.")
        check_kind(asked, wanted.type)

        async def save(act: Act) -> tuple[int, recurring.Template]:
            is_new = await act.templates.save(wanted.name, wanted.type, payload_text(wanted.payload), tenant=asked.tenant, **options)
            return (201 if is_new else 200), template_of(await act.templates.get(wanted.name, tenant=asked.tenant))

        return await once(asked, "POST /api/templates", raw, save)

    @router.get("/templates", tags=["templates"], **describe(recurring.Templates))
    async def list_templates(request: Request, page: PageNumber = 1, limit: Limit = 20) -> Response:
        """The tenant's templates by name, of the first 1,000."""
        asked = asked_of(request)
        asked.require_tenant("send", "watch")
        async with api.services.records.looking(asked.tenant_id) as look:
            found, said = sliced(await look.templates.list(tenant=asked.tenant), page, limit)
        return json_answer(recurring.Templates(data=[template_of(one) for one in found], pagination=said))

    @router.get("/templates/{name}", tags=["templates"], **describe(recurring.Template, refusals=(404,)))
    async def get_template(request: Request, name: str) -> Response:
        """One template."""
        asked = asked_of(request)
        asked.require_tenant("send", "watch")
        async with api.services.records.looking(asked.tenant_id) as look:
            return json_answer(template_of(await look.templates.get(name, tenant=asked.tenant)))

    @router.delete(
        "/templates/{name}", tags=["templates"], **describe(answers.Message, example={"message": "Template deleted"}, refusals=(404,))
    )
    async def delete_template(request: Request, name: str) -> Response:
        """Take it away; jobs made from it stay."""
        asked = asked_of(request)
        asked.require_tenant("send")
        async with asked.acting() as act:
            if not await act.templates.delete(name, tenant=asked.tenant):
                raise NotFound(f"template {name[:80]!r}: there is none of that name.")
        return json_answer(answers.Message(message="Template deleted"))


def template_of(view: TemplateView) -> recurring.Template:
    """A template as people see it."""
    return recurring.Template(name=view.name, type=view.kind, payload=view.payload, options=view.options, updated_at=view.updated_at)
