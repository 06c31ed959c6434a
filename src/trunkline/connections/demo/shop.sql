-- Elmwood Outfitters: an outdoor shop with a warehouse, subscriptions and a help desk. Invented for the demonstration.
-- 43 tables in seven schemas, 4 views, 1 materialized view. Here is the front: catalog and sales; `shop_office.sql` has
-- billing, logistics, hr and support, `shop_rows.sql` fills them all.

create schema catalog;
create schema sales;
create schema billing;
create schema logistics;
create schema hr;
create schema support;
comment on schema catalog is 'What is sold';
comment on schema sales is 'Who buys it';
comment on schema billing is 'What they owe and paid';
comment on schema logistics is 'Where it lies and how it travels';
comment on schema hr is 'Who works here';
comment on schema support is 'What went wrong and who helps';

create type sales.order_status as enum ('draft', 'placed', 'paid', 'packed', 'shipped', 'delivered', 'returned', 'cancelled');
create type billing.payment_method as enum ('card', 'bank_transfer', 'wallet', 'invoice');
create type support.ticket_priority as enum ('low', 'normal', 'high', 'urgent');
create type hr.leave_kind as enum ('holiday', 'sick', 'parental', 'unpaid');
create domain public.email as text check (value ~ '^[^@\s]+@[^@\s]+$');

create table public.country (
  code char(2) primary key,
  name text not null unique,
  vat_rate numeric(5, 4) not null default 0 check (vat_rate between 0 and 1)
);
create table public.currency (
  code char(3) primary key,
  name text not null,
  minor_digits smallint not null default 2
);

-- catalog -------------------------------------------------------------------------------------------------------------
create table catalog.brand (
  id int generated always as identity primary key,
  name text not null unique,
  country_code char(2) references public.country,
  website text
);
create table catalog.category (
  id int generated always as identity primary key,
  parent_id int references catalog.category on delete restrict,
  slug text not null unique,
  title text not null
);
create table catalog.product (
  id bigint generated always as identity primary key,
  brand_id int not null references catalog.brand,
  category_id int not null references catalog.category,
  sku varchar(32) not null unique,
  title text not null,
  description text,
  attributes jsonb not null default '{}',
  weight_g int check (weight_g > 0),
  is_active boolean not null default true,
  created_at timestamptz not null default now()
);
create index product_category on catalog.product (category_id) where is_active;
create index product_attributes on catalog.product using gin (attributes);
create index product_title on catalog.product (lower(title));
comment on column catalog.product.attributes is 'Size, colour, material: whatever the brand tells us';
create table catalog.variant (
  id bigint generated always as identity primary key,
  product_id bigint not null references catalog.product on delete cascade,
  barcode varchar(14) unique,
  size text,
  colour text,
  unique nulls not distinct (product_id, size, colour)
);
create table catalog.price (
  variant_id bigint not null references catalog.variant on delete cascade,
  currency_code char(3) not null references public.currency,
  valid_from date not null,
  amount numeric(12, 2) not null check (amount >= 0),
  primary key (variant_id, currency_code, valid_from)
);
create table catalog.image (
  id bigint generated always as identity primary key,
  product_id bigint not null references catalog.product on delete cascade,
  url text not null,
  position smallint not null default 0
);
create table catalog.review (
  id bigint generated always as identity primary key,
  product_id bigint not null references catalog.product on delete cascade,
  customer_id bigint not null,
  stars smallint not null check (stars between 1 and 5),
  body text,
  written_at timestamptz not null default now(),
  unique (product_id, customer_id)
);
create table catalog.tag (id int generated always as identity primary key, label text not null unique);
create table catalog.product_tag (
  product_id bigint not null references catalog.product on delete cascade,
  tag_id int not null references catalog.tag on delete cascade,
  primary key (product_id, tag_id)
);

-- sales ---------------------------------------------------------------------------------------------------------------
create table sales.customer (
  id bigint generated always as identity primary key,
  email public.email not null unique,
  full_name text not null,
  birthday date,
  marketing_consent boolean not null default false,
  joined_at timestamptz not null default now()
);
comment on table sales.customer is 'One row per person; companies are customers with a VAT number in billing.account';
alter table catalog.review add foreign key (customer_id) references sales.customer on delete cascade;
create table sales.address (
  id bigint generated always as identity primary key,
  customer_id bigint not null references sales.customer on delete cascade,
  line1 text not null,
  line2 text,
  city text not null,
  postal_code varchar(16),
  country_code char(2) not null references public.country
);
create index address_customer on sales.address (customer_id);
create table sales.channel (id smallint generated always as identity primary key, name text not null unique);
create table sales.coupon (
  code varchar(24) primary key,
  percent_off numeric(4, 1) check (percent_off > 0 and percent_off <= 100),
  valid_during tstzrange not null
);
create table sales.orders (
  id bigint generated always as identity primary key,
  customer_id bigint not null references sales.customer,
  channel_id smallint not null references sales.channel,
  ship_to bigint references sales.address on delete set null,
  coupon_code varchar(24) references sales.coupon on update cascade,
  currency_code char(3) not null references public.currency,
  status sales.order_status not null default 'draft',
  placed_at timestamptz,
  note text
);
create index orders_customer on sales.orders (customer_id, placed_at desc) include (status);
create index orders_open on sales.orders (placed_at) where status in ('placed', 'paid', 'packed');
create table sales.order_line (
  order_id bigint not null references sales.orders on delete cascade,
  line_no smallint not null,
  variant_id bigint not null references catalog.variant,
  quantity int not null check (quantity > 0),
  unit_price numeric(12, 2) not null,
  amount numeric(14, 2) generated always as (quantity * unit_price) stored,
  primary key (order_id, line_no)
);
create index order_line_variant on sales.order_line (variant_id);
create table sales.cart (
  id uuid primary key default gen_random_uuid(),
  customer_id bigint references sales.customer on delete cascade,
  touched_at timestamptz not null default now()
);
create table sales.cart_item (
  cart_id uuid not null references sales.cart on delete cascade,
  variant_id bigint not null references catalog.variant,
  quantity int not null default 1,
  primary key (cart_id, variant_id)
);
create table sales.wishlist (
  customer_id bigint not null references sales.customer on delete cascade,
  variant_id bigint not null references catalog.variant on delete cascade,
  added_at timestamptz not null default now(),
  primary key (customer_id, variant_id)
);
