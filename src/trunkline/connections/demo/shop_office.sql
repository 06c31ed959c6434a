-- Elmwood Outfitters, the office: billing, logistics, hr, support, and the views over everything. Follows `shop.sql`.

-- billing -------------------------------------------------------------------------------------------------------------
create table billing.account (
  customer_id bigint primary key references sales.customer on delete cascade,
  vat_number text unique,
  credit_limit numeric(12, 2) not null default 0
);
create table billing.invoice (
  id bigint generated always as identity primary key,
  number text not null unique,
  order_id bigint not null references sales.orders,
  issued_on date not null default current_date,
  due_on date not null,
  total numeric(14, 2) not null,
  check (due_on >= issued_on)
);
create index invoice_due on billing.invoice (due_on);
create table billing.invoice_line (
  invoice_id bigint not null references billing.invoice on delete cascade,
  line_no smallint not null,
  text text not null,
  amount numeric(14, 2) not null,
  vat_rate numeric(5, 4) not null,
  primary key (invoice_id, line_no)
);
create table billing.payment (
  id bigint generated always as identity primary key,
  invoice_id bigint not null references billing.invoice,
  method billing.payment_method not null,
  amount numeric(14, 2) not null,
  reference text,
  received_at timestamptz not null default now()
);
create index payment_invoice on billing.payment (invoice_id);
create table billing.refund (
  id bigint generated always as identity primary key,
  payment_id bigint not null references billing.payment,
  amount numeric(14, 2) not null check (amount > 0),
  reason text
);
create table billing.plan (
  id smallint generated always as identity primary key,
  name text not null unique,
  monthly numeric(8, 2) not null
);
create table billing.subscription (
  id bigint generated always as identity primary key,
  customer_id bigint not null references sales.customer,
  plan_id smallint not null references billing.plan,
  started_on date not null,
  ended_on date
);
create unique index subscription_live on billing.subscription (customer_id) where ended_on is null;

-- logistics -----------------------------------------------------------------------------------------------------------
create table logistics.warehouse (
  id smallint generated always as identity primary key,
  name text not null unique,
  country_code char(2) not null references public.country,
  location point
);
create table logistics.bin (
  id int generated always as identity primary key,
  warehouse_id smallint not null references logistics.warehouse on delete cascade,
  aisle char(2) not null,
  shelf smallint not null,
  unique (warehouse_id, aisle, shelf)
);
create table logistics.stock (
  bin_id int not null references logistics.bin,
  variant_id bigint not null references catalog.variant,
  quantity int not null default 0 check (quantity >= 0),
  primary key (bin_id, variant_id)
);
create table logistics.movement (
  id bigint generated always as identity,
  bin_id int not null references logistics.bin,
  variant_id bigint not null,
  delta int not null,
  moved_at timestamptz not null,
  primary key (id, moved_at)
) partition by range (moved_at);
create table logistics.movement_2026 partition of logistics.movement for values from ('2026-01-01') to ('2027-01-01');
create index movement_when on logistics.movement using brin (moved_at);
create table logistics.carrier (id smallint generated always as identity primary key, name text not null unique, tracking_url text);
create table logistics.shipment (
  id bigint generated always as identity primary key,
  order_id bigint not null references sales.orders,
  carrier_id smallint not null references logistics.carrier,
  tracking_code text,
  shipped_at timestamptz,
  delivered_at timestamptz,
  unique (carrier_id, tracking_code)
);
create table logistics.supplier (id int generated always as identity primary key, name text not null unique, contact public.email);
create table logistics.purchase_order (
  id bigint generated always as identity primary key,
  supplier_id int not null references logistics.supplier,
  ordered_on date not null,
  expected_on date
);

-- hr ------------------------------------------------------------------------------------------------------------------
create table hr.department (id smallint generated always as identity primary key, name text not null unique);
create table hr.employee (
  id int generated always as identity primary key,
  department_id smallint not null references hr.department,
  manager_id int references hr.employee on delete set null,
  email public.email not null unique,
  full_name text not null,
  hired_on date not null,
  skills text[] not null default '{}'
);
create table hr.salary (
  employee_id int not null references hr.employee on delete cascade,
  valid_from date not null,
  monthly numeric(10, 2) not null,
  primary key (employee_id, valid_from)
);
comment on table hr.salary is 'Confidential';
create table hr.leave (
  id bigint generated always as identity primary key,
  employee_id int not null references hr.employee on delete cascade,
  kind hr.leave_kind not null,
  during daterange not null
);

-- support -------------------------------------------------------------------------------------------------------------
create table support.ticket (
  id bigint generated always as identity primary key,
  customer_id bigint not null references sales.customer,
  order_id bigint references sales.orders on delete set null,
  assignee_id int references hr.employee on delete set null,
  priority support.ticket_priority not null default 'normal',
  subject text not null,
  opened_at timestamptz not null default now(),
  closed_at timestamptz
);
create index ticket_open on support.ticket (priority, opened_at) where closed_at is null;
create table support.message (
  id bigint generated always as identity primary key,
  ticket_id bigint not null references support.ticket on delete cascade,
  from_customer boolean not null,
  body text not null,
  sent_at timestamptz not null default now()
);
create table support.ticket_tag (
  ticket_id bigint not null references support.ticket on delete cascade,
  tag_id int not null references catalog.tag on delete cascade,
  primary key (ticket_id, tag_id)
);

-- views ---------------------------------------------------------------------------------------------------------------
create view sales.order_total as
  select o.id, o.customer_id, o.status, sum(l.amount) as total
    from sales.orders as o join sales.order_line as l on l.order_id = o.id group by o.id;
create view billing.overdue as
  select i.* from billing.invoice as i
   where i.due_on < current_date and i.total > (select coalesce(sum(p.amount), 0) from billing.payment as p where p.invoice_id = i.id);
create view support.open_ticket as select * from support.ticket where closed_at is null;
create view hr.headcount as
  select d.name, count(e.id) as people from hr.department as d left join hr.employee as e on e.department_id = d.id group by d.name;
create materialized view catalog.rating as
  select product_id, avg(stars)::numeric(3, 2) as stars, count(*) as reviews from catalog.review group by product_id;
create unique index rating_product on catalog.rating (product_id);
