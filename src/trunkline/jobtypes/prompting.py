"""Fills the variables of a prompt. The language is a small part of Jinja: {{ names }}, {% if %}, and a few filters.

Always true: a prompt is somebody's text and not code: loops, calls, macros, imports and arithmetic are refused before anything
runs, so rendering takes time in proportion to the text; what is left runs in Jinja's sandbox; a variable that is missing is an error, and a
value is put in as it is, never read as a prompt again.
Needs the extra `ai`; import this module only where a job runs.
Called by: ai_generation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from trunkline.model import Fail

FILTERS = (
    "upper",
    "lower",
    "title",
    "capitalize",
    "trim",
    "default",
    "truncate",
    "tojson",
    "join",
    "length",
    "replace",
    "int",
    "round",
    "first",
    "last",
)
ALLOWED: tuple[type[nodes.Node], ...] = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Const, nodes.If, nodes.Filter),
    *(nodes.Not, nodes.And, nodes.Or, nodes.Compare, nodes.Operand, nodes.CondExpr, nodes.Test, nodes.Keyword),
)
LONGEST = 400_000  # characters of a rendered prompt

_environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
_environment.filters = {name: _environment.filters[name] for name in FILTERS}
_environment.globals = {}


def rendered(text: str, variables: Mapping[str, Any]) -> str:
    """The prompt with its variables.

    Raises:
        Fail: it is no prompt of this language, a variable is missing, or the result is too long.
    """
    try:
        tree = _environment.parse(text)
        strange = next((node for node in tree.find_all(nodes.Node) if not isinstance(node, ALLOWED)), None)
        if strange is not None:
            raise Fail(f"a prompt may not have {type(strange).__name__} (line {strange.lineno}): write variables, filters and if.")
        found = _environment.from_string(tree).render(dict(variables))
    except TemplateError as error:
        raise Fail(f"the prompt cannot be filled: {str(error)[:300]}.") from None
    except (TypeError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise Fail(f"the prompt cannot be filled with these variables: {type(error).__name__}.") from None
    if len(found) > LONGEST:
        raise Fail(f"the prompt has {len(found):,} characters with its variables, and at most {LONGEST:,} are sent.")
    return found
