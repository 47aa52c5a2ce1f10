"""What a constructor takes: its signature is the schema of its YAML."""

from __future__ import annotations

import inspect
import json
import types
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from llmft.config.faults import ABSENT, Fault, Why, nearest

RESERVED = ("_target_", "_partial_")


class Argument(NamedTuple):
    hint: Any  # ABSENT where the constructor says nothing
    required: bool

    @property
    def optional(self) -> bool:
        """May it be None?"""
        return not self.required or type(None) in get_args(_bare(self.hint))


class Signature(NamedTuple):
    name: str
    arguments: dict[str, Argument]
    takes_anything: bool  # **kwargs: a misspelt argument would be swallowed


@cache
def signature(cls: type) -> Signature:
    """What ``cls`` takes."""
    try:
        hints = get_type_hints(cls.__init__, include_extras=True)
    except Exception:  # a library's own annotations need not be importable; llmft's are, which a test holds
        hints = {}
    parameters = inspect.signature(cls).parameters.values()
    arguments = {
        p.name: Argument(hints.get(p.name, ABSENT), p.default is p.empty)
        for p in parameters
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    }
    return Signature(_name(cls), arguments, any(p.kind is p.VAR_KEYWORD for p in parameters))


def convert(value: Any, hint: Any) -> Any:
    """``value``, of YAML's types, as ``hint`` has it: a list becomes a tuple, an int a float, a text a Path.

    Nothing else is converted. Raises pydantic's ValidationError where it does not fit.
    """
    adapter = _adapter(hint)
    # JSON's types are YAML's: pydantic's strict JSON mode takes a list for a tuple but no '8' for an int
    return value if adapter is None else adapter.validate_json(json.dumps(value, default=str), strict=True)


def value_faults(path: str, value: Any, hint: Any) -> list[Fault]:
    """What is wrong with ``value`` where ``hint`` is expected."""
    from pydantic import ValidationError

    try:
        convert(value, hint)
    except ValidationError as error:
        if _is_union(hint):  # pydantic lists every member's complaint
            return [_wrong_type(path, value, hint)]
        return [_explain(path, value, hint, one) for one in error.errors(include_url=False)]
    return []


def _explain(path: str, value: Any, hint: Any, error: Any) -> Fault:
    where = ".".join([path, *(str(key) for key in error["loc"])])
    given = error["input"] if error["loc"] else value
    if error["type"] == "literal_error":
        choices = [str(choice) for choice in get_args(_bare(hint))] if not error["loc"] else []
        return Fault(where, given, _expected(error["msg"]), nearest(str(given), choices) if choices else "")
    if not error["loc"] and error["type"].endswith("_type"):
        return _wrong_type(where, given, hint)
    why = next((one.text for one in _whys(hint)), None)
    if why is not None and not error["type"].endswith("_type"):
        return Fault(where, given, *why.split("; ", 1))
    return Fault(where, given, _expected(error["msg"]), "change it")


def _wrong_type(path: str, value: Any, hint: Any) -> Fault:
    return Fault(path, value, f"expected {_text(hint)}, got {_kind(value)}", "give a value of that type")


def _expected(message: str) -> str:
    return message.replace("Input should be", "expected").replace("Input should", "it should")


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


@cache
def _adapter(hint: Any) -> Any:
    """A pydantic adapter, or None for what pydantic cannot look into (a Protocol, say)."""
    from pydantic import ConfigDict, TypeAdapter

    if hint is ABSENT:
        return None
    for config in (ConfigDict(arbitrary_types_allowed=True), None):
        try:
            return TypeAdapter(hint, config=config)
        except Exception:
            continue
    return None


def _bare(hint: Any) -> Any:
    """Without Annotated."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _members(hint: Any) -> list[Any]:
    """The members of a union but None; of anything else, itself."""
    hint = _bare(hint)
    if get_origin(hint) not in (Union, types.UnionType):
        return [hint]
    return [member for member in get_args(hint) if member is not type(None)]


def _is_union(hint: Any) -> bool:
    return len(_members(hint)) > 1


def _whys(hint: Any) -> list[Why]:
    """Every Why in an annotation, the outermost first."""
    own = [extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Why)]
    return own + [why for inner in get_args(hint) for why in _whys(inner) if get_origin(hint) is not Literal]


def _text(hint: Any) -> str:
    """An annotation as a reader knows it: int, float or null, list[str]."""
    none = type(None) in get_args(_bare(hint))
    names = [_name_of(member) for member in _members(hint)] + (["null"] if none else [])
    return " or ".join(names)


def _name_of(hint: Any) -> str:
    hint = _bare(hint)
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if isinstance(hint, type) and not get_args(hint):
        return hint.__name__
    return str(hint).replace("typing.", "").replace("collections.abc.", "")


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
