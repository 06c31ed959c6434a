"""Rows of files into tables of registered databases: what `bulk-import` and `lead-import` share.

`sources` reads files, `values` turns cells into a column's values, `landing` writes chunks exactly once, `run` carries one attempt.
"""
