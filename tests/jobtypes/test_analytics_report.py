"""`analytics-report`: counts that agree with the jobs, on a page that runs nothing."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ET
from datetime import UTC, date, datetime, timedelta

import pytest

from trunkline import Fail, Trunkline
from trunkline.engine.usage import Usage
from trunkline.errors import JobFailed
from trunkline.jobtypes.charts import page

EVIL = '<script>alert(1)</script>"\u202e=cmd()'


async def test_a_report_counts_what_the_tenant_did_and_nothing_else(registrar: Trunkline) -> None:
    @registrar.job("=good", tenants="all")
    async def good() -> None: ...

    @registrar.job("bad", retry_limit=0)
    async def bad() -> None:
        raise Fail("no")

    await registrar.start_worker()
    ended = [await registrar.enqueue(kind) for kind in ("=good", "=good", "bad")]
    ended.append(await registrar.enqueue("good", delay=3600))  # nobody handles it
    await registrar.cancel(ended[-1])
    other = await registrar.enqueue("=good", tenant="other")
    for job_id in ended:
        await registrar.wait_ended(job_id, 30)
    await registrar.wait_ended(other, 30, tenant="other")

    job_id = await registrar.enqueue("analytics-report", {"days": 2, "kinds": ["=good", "bad", "good"]}, user_id="u1")
    result = await registrar.wait(job_id, 30)
    with pytest.raises(JobFailed, match="TRUNKLINE_REPORT_ALL_TENANTS"):
        await registrar.wait(await registrar.enqueue("analytics-report", {"allTenants": True}), 30)

    html = (await registrar.files.open(job_id, user_id="u1")).path.read_text()
    table = await registrar.files.open(job_id, "csv", user_id="u1")
    lines = [(line[0], line[2], *line[3:7]) for line in list(csv.reader(table.path.read_text().splitlines()))[1:]]
    assert (4, 2, 1, 1) == tuple(result[what] for what in ("enqueued", "completed", "failed", "cancelled"))
    assert sorted(
        [("default", "'=good", "2", "2", "0", "0"), ("default", "bad", "1", "0", "1", "0"), ("default", "good", "1", "0", "0", "1")]
    ) == sorted(lines)
    assert table.sha256 == result["csvSha256"]
    assert "4 jobs enqueued, 2 completed, 1 failed, 1 cancelled" in html
    assert str(datetime.now(UTC).date() - timedelta(days=1)) == result["first"]


async def test_every_tenant_is_counted_where_the_operator_allows_it(registrar: Trunkline) -> None:
    registrar.settings = registrar.settings.model_copy(update={"report_all_tenants": True})
    await registrar.start_worker()
    await registrar.enqueue("whatever", tenant="other")

    result = await registrar.wait(await registrar.enqueue("analytics-report", {"allTenants": True, "kinds": ["whatever"]}), 30)
    with pytest.raises(JobFailed, match="default tenant"):
        await registrar.wait(await registrar.enqueue("analytics-report", {"allTenants": True}, tenant="other"), 30, tenant="other")

    assert 1 == result["enqueued"]


def test_the_axis_names_whole_jobs_where_its_lines_are() -> None:
    """Half of seven is no four."""
    for most, named in ((7, ["0", "4", "8"]), (1, ["0", "1", "2"]), (2400, ["0", "1,200", "2,400"])):
        html = page(
            [Usage("t", date(2026, 1, 1), "k", most, 0, 0, 0, 0, None, None, None)],
            title="",
            first=date(2026, 1, 1),
            last=date(2026, 1, 1),
            zone="UTC",
        )
        texts = ET.fromstring(html[html.index("<svg") : html.index("</svg>") + 6]).findall("text")

        assert named == [text.text for text in texts][:3]


def test_names_on_the_page_are_text_and_the_page_is_well_formed() -> None:
    rows = [
        Usage(EVIL, date(2026, 1, 1), EVIL, 4, 2, 1, 0, 1, 1.5, 2.0, None),
        Usage("b", date(2026, 1, 3), "k", 1, 0, 0, 0, 0, None, None, None),
    ]

    html = page(rows, title=EVIL, first=date(2026, 1, 1), last=date(2026, 1, 3), zone="UTC")

    body = ET.fromstring(html[html.index("<body>") : html.index("</html>")])
    assert "<script" not in html
    assert "\u202e" not in html
    assert "default-src 'none'" in html
    assert 4 == len(body.findall(".//rect"))
    assert '<script>alert(1)</script>"=cmd()' in ["".join(cell.itertext()) for cell in body.findall(".//td")]
