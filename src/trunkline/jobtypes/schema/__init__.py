"""Reads what is in a database: schemas, tables, columns, keys, indexes and estimates, never a row of anybody's data.

`shape` says what comes out; `reader` reads it through SQLAlchemy; `postgresql`, `mysql` and `sqlite` hold what differs
between them; `fingerprint` says whether two readings are the same; `failures` sorts what can go wrong;
`bridge` lets the reading thread speak to the job. Only `schema_rebuild` needs to know any of them.
"""
