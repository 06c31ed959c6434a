"""Creates the demonstration database on a server we may create databases on.

Always true: it may be called any number of times, also at once; a database that is there and complete is left alone.
Called by: cli, tests.
"""

from __future__ import annotations

import re
from importlib.resources import files

from trunkline.errors import InvalidInput
from trunkline.store.admin import load_once

PARTS = ("shop.sql", "shop_office.sql", "shop_rows.sql")


async def prepare_demo_database(admin_url: str, name: str = "trunkline_demo_shop") -> str:
    """Make sure the database `name` exists with the shop in it, analyzed.

    Args:
        admin_url: postgresql:// URL of a user that may create databases.
        name: a lower-case identifier, at most 63 characters.
    Returns:
        The URL of the database, with everything else as in `admin_url`.
    Raises:
        InvalidInput: `name` is not an identifier.
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
        raise InvalidInput(f"demo database name {name!r}: need 1 to 63 of a-z 0-9 _, starting with a letter or _.")
    scripts = [files("trunkline.connections.demo").joinpath(part).read_text("utf-8") for part in PARTS]
    # Row estimates are null until the tables were analyzed.
    return await load_once(admin_url, name, [*scripts, "analyze"], unless_schema="support")
