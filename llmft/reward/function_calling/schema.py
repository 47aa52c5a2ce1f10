"""A call's arguments against its tool's JSON Schema (draft 2020-12), by the library jsonschema.

As there: a bool is no integer, 5.0 is one. Stricter than there: an argument that the schema does not name is refused,
unless the schema says ``additionalProperties``, and so in objects below that name their properties. Nothing is ever
fetched: a ``$ref`` goes into the schema itself. A ``pattern`` is given a time limit, since a text can be written that
keeps it busy for ever; ``patternProperties`` are refused, since the library matches them without one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

PATTERNS_S = 0.25  # of processor time for all patterns of one call, which is refused if they need more
OPEN = ("additionalProperties", "unevaluatedProperties")  # what says itself whether other names may stand
BESIDE = ("$ref", "anyOf", "oneOf", "allOf", "if", "dependentSchemas")  # what may name more of the same object
COMPOSED = ("allOf", "if", "dependentSchemas", "not")  # several schemas of one object, each of which knows some names
NO_ARGUMENTS = {"type": "object", "properties": {}}

_LEFT: ContextVar[float] = ContextVar("seconds that patterns may still take", default=PATTERNS_S)


class Tool:
    """One tool that is offered, ``{"type": "function", "function": {...}}`` or what is within. Raises ValueError for a
    tool that cannot be checked against."""

    def __init__(self, tool: Mapping[str, Any]) -> None:
        function = described(tool)
        name, schema = function.get("name"), function.get("parameters") or NO_ARGUMENTS
        if not isinstance(name, str) or not name.strip():
            raise ValueError("a tool without a name")
        if fault := schema_fault(schema):
            raise ValueError(f"tool {name!r}: parameters: {fault}")
        self.name = name
        self.parameters: Mapping[str, Any] = schema
        self._validator = _validator(json.dumps(schema))

    def accepts(self, arguments: Mapping[str, Any]) -> bool:
        """Do these arguments satisfy the schema?"""
        _LEFT.set(PATTERNS_S)
        try:
            return self._validator.is_valid(arguments)
        except Exception:  # the schema was tried before: what makes the library raise is in the arguments
            return False

    def knows(self, argument: str) -> bool:
        """May a call have an argument of this name?"""
        schema, known = self.parameters, self.parameters.get("properties", {})
        return argument in known or any(schema.get(key, False) is not False for key in (*OPEN, *BESIDE))


def described(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """Name, description and parameters of a tool, in OpenAI's wrapping or without it."""
    inside = tool.get("function")
    return inside if isinstance(inside, Mapping) else tool


def schema_fault(schema: Any) -> str | None:
    """Why a schema of arguments cannot be used, or None."""
    if not isinstance(schema, Mapping):
        return f"not a JSON Schema but {type(schema).__name__}; give an object with type, properties and required"
    if schema.get("type", "object") != "object":
        return f"type={schema['type']}: arguments are an object; write type: object"
    try:
        return _fault(json.dumps(schema, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        return f"not valid JSON Schema: {type(error).__name__}: {str(error)[:120]}"


@lru_cache(maxsize=4096)
def _fault(text: str) -> str | None:
    from jsonschema.exceptions import SchemaError

    schema, kind = json.loads(text), _kind()
    try:
        if not kind(kind.META_SCHEMA).is_valid(schema):
            kind.check_schema(schema)
        if fault := next(_unusable(schema), None):
            return fault
        _validator(text).is_valid({})
    except SchemaError as error:
        return f"not valid JSON Schema: {'.'.join(map(str, error.absolute_path)) or 'it'}: {error.message[:120]}"
    except RecursionError:
        return "not valid JSON Schema: a $ref that leads to itself"
    except Exception as error:  # the library's own, for a reference that leads nowhere
        return f"not valid JSON Schema: {str(error)[:120]}; a $ref must lead into the schema itself"
    return None


def _unusable(schema: Any) -> Iterator[str]:
    """What the library would accept in a schema and we cannot use."""
    for place in _within(schema):
        ref = place.get("$ref", place.get("$dynamicRef"))
        if isinstance(ref, str) and not ref.startswith("#"):
            yield f"$ref={ref}: nothing is fetched; move it into $defs"
        if "patternProperties" in place:
            yield "patternProperties are not supported; name the properties, or allow additionalProperties"
        if isinstance(place.get("pattern"), str):
            try:
                _compiled(place["pattern"])
            except ValueError as error:
                yield f"pattern={place['pattern']}: not a regular expression ({error})"


def _within(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Every object in a schema; more than its subschemas, which does no harm."""
    if isinstance(schema, Mapping):
        yield schema
        schema = list(schema.values())
    for inside in schema if isinstance(schema, list) else ():
        yield from _within(inside)


@lru_cache(maxsize=4096)
def _validator(text: str) -> Validator:
    """The schema made strict and compiled, once for all tools that have it."""
    import referencing

    schema = json.loads(text)
    below = not any(key in place for place in _within(schema) for key in COMPOSED)
    return _kind()(_closed(schema, below=below, top=True), registry=referencing.Registry())


@lru_cache(maxsize=1)
def _kind() -> Any:
    """The library's validator, with patterns in limited time."""
    from jsonschema import Draft202012Validator, validators

    return validators.extend(Draft202012Validator, {"pattern": _pattern})


def _closed(schema: Any, *, below: bool, top: bool = False, parted: bool = False) -> Any:
    """The schema, refusing names that it does not know; with ``below``, so the objects in it that name some.

    ``parted``: another schema names properties of the same object.
    """
    if not isinstance(schema, dict):
        return schema
    made = dict(schema)
    own = bool(schema.get("properties"))
    for key, value in schema.items() if below else ():
        if key in ("properties", "$defs", "definitions") and isinstance(value, dict):
            made[key] = {name: _closed(one, below=True) for name, one in value.items()}
        elif key in ("items", "additionalProperties"):
            made[key] = _closed(value, below=True)
        elif key in ("prefixItems", "anyOf", "oneOf") and isinstance(value, list):
            made[key] = [_closed(one, below=True, parted=own and key != "prefixItems") for one in value]
    if (top or (own and not parted)) and not any(key in schema for key in OPEN):
        made["unevaluatedProperties" if any(key in schema for key in BESIDE) else "additionalProperties"] = False
    return made


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[Any]:
    """The keyword ``pattern``. Raises TimeoutError when the call's time is up."""
    from jsonschema import ValidationError

    if not isinstance(value, str):
        return
    left, begun = _LEFT.get(), time.thread_time()
    if left <= 0:
        raise TimeoutError
    found = _compiled(pattern).search(value, timeout=left)
    _LEFT.set(left - (time.thread_time() - begun))
    if found is None:
        yield ValidationError(f"it does not match {pattern!r}")


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> Any:
    import regex

    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise ValueError(str(error)) from None
