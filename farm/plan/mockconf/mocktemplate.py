"""Jinja2 templates in mock options, expanded as mock does, in a sandbox narrower than mock's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2
from jinja2.filters import FILTERS
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from farm.errors import ConfigError

_RECURSION = 5  # mock's own bound for templates that render to templates
_LONGEST_RANGE = 100
_LARGEST = 1 << 20  # characters of a rendered value

# Filters that neither grow a text without bound nor look outside of it.
_FILTERS = (
    "capitalize", "d", "default", "first", "float", "int", "join", "last", "length", "list",
    "lower", "replace", "string", "title", "trim", "upper",
)  # fmt: skip


def render(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Every value with its Jinja2 templates expanded over `options`, until nothing changes.

    Raises ConfigError naming the option whose template is broken, unbounded or reaches for
    something that templates may not use.
    """
    environment = _environment()
    limit = options.get("jinja_max_recursion", _RECURSION)
    limit = limit if isinstance(limit, int) and 0 < limit <= 20 else _RECURSION

    def rendered(name: str, value: Any) -> Any:
        if isinstance(value, str):
            return text(name, value)
        if isinstance(value, (list, tuple)):
            return type(value)(rendered(name, item) for item in value)
        if isinstance(value, dict):
            return {key: rendered(f"{name}[{key!r}]", item) for key, item in value.items()}
        return value

    def text(name: str, value: str) -> str:
        try:
            for _ in range(limit):
                last, value = value, environment.from_string(value).render(options)
                if value == last:
                    return value
                if len(value) > _LARGEST:
                    raise ConfigError(f"{where}: {name} renders to more than {_LARGEST} characters")
        except ConfigError:
            raise
        except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{where}: the template in {name} cannot be rendered", why=str(error)
            ) from error
        except (RecursionError, MemoryError, OverflowError) as error:
            raise ConfigError(f"{where}: the template in {name} does not end") from error
        raise ConfigError(
            f"{where}: the template in {name} still changes after {limit} passes",
            hint="An option refers to itself.",
        )

    return {name: rendered(name, value) for name, value in options.items()}


def variables_used(value: Any) -> set[str]:
    """Names that the templates within `value` refer to."""
    if isinstance(value, str):
        if "{" not in value:
            return set()
        try:
            return find_undeclared_variables(_environment().parse(value))
        except jinja2.TemplateError:
            return set()  # reported by `render`, with the option's name
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return set().union(*(variables_used(item) for item in value))
    return set()


class _Environment(ImmutableSandboxedEnvironment):
    """mock's sandbox, less what lets a short text take all memory or time."""

    intercepted_binops = frozenset(("*", "**"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if not (isinstance(left, (int, float)) and isinstance(right, (int, float))):
            raise jinja2.exceptions.SecurityError("texts and lists may not be multiplied")
        if operator == "**" and (abs(left) > 1000 or abs(right) > 64):
            raise jinja2.exceptions.SecurityError("the power is too large")
        return super().call_binop(context, operator, left, right)


def _short_range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > _LONGEST_RANGE:
        raise jinja2.exceptions.SecurityError(f"range() of more than {_LONGEST_RANGE} numbers")
    return numbers


def _environment() -> _Environment:
    environment = _Environment(keep_trailing_newline=True)
    environment.globals.clear()
    environment.globals["range"] = _short_range
    environment.filters = {name: FILTERS[name] for name in _FILTERS}
    return environment
