-- Rows for `shop.sql`: enough that the planner has something to estimate, the same on every machine.

insert into public.country (code, name, vat_rate) values
  ('AT', 'Austria', 0.20), ('DE', 'Germany', 0.19), ('DK', 'Denmark', 0.25), ('FR', 'France', 0.20), ('NL', 'Netherlands', 0.21);
insert into public.currency (code, name) values ('EUR', 'Euro'), ('DKK', 'Danish krone');

insert into catalog.brand (name, country_code)
  select 'Brand ' || n, (array['AT', 'DE', 'DK', 'FR', 'NL'])[1 + n % 5] from generate_series(1, 25) as n;
insert into catalog.category (parent_id, slug, title)
  select null, 'category-' || n, 'Category ' || n from generate_series(1, 8) as n;
insert into catalog.category (parent_id, slug, title)
  select 1 + n % 8, 'category-' || n, 'Category ' || n from generate_series(9, 40) as n;
insert into catalog.product (brand_id, category_id, sku, title, attributes, weight_g)
  select 1 + n % 25, 1 + n % 40, 'EL-' || lpad(n::text, 6, '0'), 'Product ' || n, jsonb_build_object('season', 1 + n % 4), 50 + n
    from generate_series(1, 500) as n;
insert into catalog.variant (product_id, barcode, size, colour)
  select 1 + n % 500, lpad(n::text, 13, '0'), (array['S', 'M', 'L'])[1 + n / 500], 'colour ' || n % 7 from generate_series(0, 1499) as n;
insert into catalog.price (variant_id, currency_code, valid_from, amount)
  select v.id, 'EUR', date '2026-01-01', 5 + v.id % 200 from catalog.variant as v;
insert into catalog.image (product_id, url) select id, '/images/' || id || '.webp' from catalog.product;
insert into catalog.tag (label) select 'tag ' || n from generate_series(1, 20) as n;
insert into catalog.product_tag (product_id, tag_id) select id, 1 + id % 20 from catalog.product;

insert into sales.channel (name) values ('web'), ('app'), ('shop'), ('phone');
insert into sales.coupon (code, percent_off, valid_during)
  select 'SAVE' || n, n, tstzrange('2026-01-01', '2027-01-01') from generate_series(5, 20, 5) as n;
insert into sales.customer (email, full_name, joined_at)
  select 'customer' || n || '@example.com', 'Customer ' || n, timestamptz '2026-01-01' + n * interval '1 hour' from generate_series(1, 800) as n;
insert into sales.address (customer_id, line1, city, country_code)
  select id, id || ' Elm Street', 'Town ' || id % 50, (array['AT', 'DE', 'DK', 'FR', 'NL'])[1 + id % 5] from sales.customer;
insert into sales.orders (customer_id, channel_id, ship_to, currency_code, status, placed_at)
  select 1 + n % 800, 1 + n % 4, 1 + n % 800, 'EUR', (enum_range(null::sales.order_status))[1 + n % 8],
         timestamptz '2026-02-01' + n * interval '10 minutes'
    from generate_series(1, 3000) as n;
insert into sales.order_line (order_id, line_no, variant_id, quantity, unit_price)
  select o.id, l, 1 + (o.id * l) % 1500, 1 + l, 10 + o.id % 90 from sales.orders as o, generate_series(1, 3) as l;
insert into sales.cart (id, customer_id) select md5('cart ' || id)::uuid, id from sales.customer where id % 4 = 0;
insert into sales.cart_item (cart_id, variant_id) select c.id, 1 + c.customer_id % 1500 from sales.cart as c;
insert into sales.wishlist (customer_id, variant_id) select id, 1 + id % 1500 from sales.customer where id % 3 = 0;
insert into catalog.review (product_id, customer_id, stars)
  select 1 + n % 500, 1 + n % 797, 1 + n % 5 from generate_series(1, 1200) as n on conflict do nothing;

insert into billing.account (customer_id) select id from sales.customer where id % 10 = 0;
insert into billing.invoice (number, order_id, issued_on, due_on, total)
  select 'R-' || o.id, o.id, o.placed_at::date, o.placed_at::date + 14, t.total
    from sales.orders as o join sales.order_total as t on t.id = o.id where o.status <> 'draft';
insert into billing.invoice_line (invoice_id, line_no, text, amount, vat_rate)
  select i.id, l.line_no, 'Variant ' || l.variant_id, l.amount, 0.19
    from billing.invoice as i join sales.order_line as l on l.order_id = i.order_id;
insert into billing.payment (invoice_id, method, amount)
  select id, (enum_range(null::billing.payment_method))[1 + id % 4], total from billing.invoice where id % 5 <> 0;
insert into billing.refund (payment_id, amount, reason) select id, 5, 'damaged' from billing.payment where id % 40 = 0;
insert into billing.plan (name, monthly) values ('Trail', 4.90), ('Summit', 9.90);
insert into billing.subscription (customer_id, plan_id, started_on)
  select id, 1 + id % 2, date '2026-03-01' from sales.customer where id % 6 = 0;

insert into logistics.warehouse (name, country_code) values ('North', 'DK'), ('South', 'AT');
insert into logistics.bin (warehouse_id, aisle, shelf)
  select w, chr(64 + a) || 'A', s from generate_series(1, 2) as w, generate_series(1, 10) as a, generate_series(1, 10) as s;
insert into logistics.stock (bin_id, variant_id, quantity) select 1 + id % 200, id, id % 30 from catalog.variant;
insert into logistics.movement (bin_id, variant_id, delta, moved_at)
  select 1 + n % 200, 1 + n % 1500, n % 11 - 5, timestamptz '2026-01-02' + n * interval '1 hour' from generate_series(1, 5000) as n;
insert into logistics.carrier (name) values ('Parcel Post'), ('Night Freight');
insert into logistics.shipment (order_id, carrier_id, tracking_code)
  select id, 1 + id % 2, 'T' || id from sales.orders where status in ('shipped', 'delivered');
insert into logistics.supplier (name, contact) select 'Supplier ' || n, 'supplier' || n || '@example.com' from generate_series(1, 15) as n;
insert into logistics.purchase_order (supplier_id, ordered_on) select 1 + n % 15, date '2026-04-01' + n from generate_series(1, 120) as n;

insert into hr.department (name) values ('Buying'), ('Warehouse'), ('Support'), ('Finance');
insert into hr.employee (department_id, email, full_name, hired_on)
  select 1 + n % 4, 'employee' || n || '@example.com', 'Employee ' || n, date '2020-01-01' + n * 20 from generate_series(1, 60) as n;
update hr.employee set manager_id = 1 where id > 1;
insert into hr.salary (employee_id, valid_from, monthly) select id, hired_on, 2500 + id * 10 from hr.employee;
insert into hr.leave (employee_id, kind, during)
  select id, 'holiday', daterange(date '2026-07-01', date '2026-07-15') from hr.employee where id % 2 = 0;

insert into support.ticket (customer_id, assignee_id, priority, subject)
  select 1 + n % 800, 1 + n % 60, (enum_range(null::support.ticket_priority))[1 + n % 4], 'Question ' || n from generate_series(1, 400) as n;
insert into support.message (ticket_id, from_customer, body) select t.id, n = 1, 'Message ' || n from support.ticket as t, generate_series(1, 2) as n;
insert into support.ticket_tag (ticket_id, tag_id) select id, 1 + id % 20 from support.ticket;

refresh materialized view catalog.rating;
