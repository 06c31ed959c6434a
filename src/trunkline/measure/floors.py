"""The statements of the floors; `floors.sql` holds their tables and procedures and says what each one stands for.

Called by: server (INSTALL), the measures, roles.
"""

from __future__ import annotations

from importlib.resources import files

INSTALL = files(__package__).joinpath("floors.sql").read_text("utf-8")

DRAIN = "call bench_floor.drain($1, $2, $3, $4)"
FILL = "call bench_floor.fill($1, $2, $3, $4, $5)"

# One claim of the raw floor takes and forgets; two of them at once never wait for each other.
RAW_CLAIM = """
delete from bench_floor.job as j
 where j.id = any (array(select c.id from bench_floor.job as c order by c.id limit $1 for update skip locked))
returning j.id, j.payload"""
# One job in, and whoever listens is told: a commit and a NOTIFY.
RAW_PUT = """
with put as (insert into bench_floor.job (payload) values ($1) returning id)
select pg_notify('bench_floor', p.id::text) from put as p"""
RAW_LEFT = "select count(*) from bench_floor.job"
CHANNEL = "bench_floor"

# What `enqueue` must write for one plain job, in one statement that a client of any language could send.
SINGLE = """
with kept as (
  insert into trunkline.job (tenant_id, id, created_at, queue_id, kind_id, payload)
  values ($1, $2, clock_timestamp(), $3, $4, $5)
)
insert into trunkline.ready (tenant_id, ord, job_id, queue_id, attempt, priority, failures, traits)
values ($1, $6, $2, $3, 0, 0, 0, 0)"""

# What became of the jobs of one database, whose bench jobs all complete.
COUNTS = """
select (select count(*) from trunkline.outcome as o where o.state = 1) as completed,
       (select count(*) from trunkline.ready) + (select count(*) from trunkline.lease) + (select count(*) from trunkline.deferred)
         + (select count(*) from trunkline.outcome as o where o.state <> 1) as others"""
