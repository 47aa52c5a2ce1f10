"""Arguments against JSON Schema: what is let through, what is refused, and what a schema may not say."""

from __future__ import annotations

import json
import socket
import time

import pytest

from llmft.reward.function_calling import schema
from llmft.reward.function_calling.schema import Tool, schema_fault

TYPES = {
    "string": ["a", ""],
    "integer": [1, -3, 5.0],
    "number": [1, 2.5],
    "boolean": [True, False],
    "array": [[], [1]],
    "object": [{}, {"a": 1}],
    "null": [None],
}


def tool(parameters=None, **properties) -> Tool:
    given = parameters or {"type": "object", "properties": properties}
    return Tool({"name": "f", "description": "", "parameters": given})


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("other", TYPES)
def test_types(kind, other):
    one = tool(x={"type": kind})
    for value in TYPES[other]:
        good = other == kind or (kind == "number" and other == "integer") or (kind == "integer" and value == 1)
        assert one.accepts({"x": value}) == ((good and not isinstance(value, bool)) or kind == other), (kind, value)


def test_a_bool_is_no_number():
    for kind in ("integer", "number"):
        assert not tool(x={"type": kind}).accepts({"x": True})
    assert not tool(x={"type": "boolean"}).accepts({"x": 1})
    assert not tool(x={"enum": [1]}).accepts({"x": True})


def test_required_enum_and_limits():
    schema = {
        "type": "object",
        "properties": {
            "unit": {"type": "string", "enum": ["C", "F"]},
            "days": {"type": "integer", "minimum": 1},
            "names": {"type": "array", "items": {"type": "string"}, "maxItems": 2, "uniqueItems": True},
        },
        "required": ["unit"],
    }
    one = tool(schema)
    assert one.accepts({"unit": "C"})
    assert one.accepts({"unit": "F", "days": 1, "names": ["a", "b"]})
    bad = [{}, {"days": 1}, {"unit": "c"}, {"unit": "C", "days": 0}, {"unit": "C", "days": 1.5}, {"unit": None}]
    bad += [{"unit": "C", "names": value} for value in (["a", 1], ["a"] * 2, list("abc"), "a")]
    for arguments in bad:
        assert not one.accepts(arguments), arguments


def test_unknown_arguments_are_refused_unless_the_schema_lets_them():
    assert not tool(x={"type": "integer"}).accepts({"x": 1, "y": 2})
    for open_ in (True, {"type": "integer"}):
        one = tool({"type": "object", "properties": {"x": {}}, "additionalProperties": open_})
        assert one.accepts({"x": 1, "y": 2})
        assert one.accepts({"y": "a"}) == (open_ is True)
    for nothing in ({"name": "f"}, {"name": "f", "parameters": None}, {"name": "f", "parameters": {}}):
        assert Tool(nothing).accepts({})
        assert not Tool(nothing).accepts({"x": 1})


def test_unknown_names_in_nested_objects():
    address = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    one = tool(to=address, all={"type": "array", "items": address}, free={"type": "object"})
    assert one.accepts({"to": {"city": "Rome"}, "all": [{"city": "Oslo"}], "free": {"any": 1}})
    assert not one.accepts({"to": {"city": "Rome", "zip": 1}})
    assert not one.accepts({"all": [{"city": "Rome"}, {"city": "Rome", "zip": 1}]})
    assert not one.accepts({"all": [{"city": "Rome"}, {}]})


def test_schemas_made_of_others():
    address = {"type": "object", "properties": {"city": {"type": "string"}}}
    by_reference = tool(
        {
            "type": "object",
            "properties": {"to": {"$ref": "#/$defs/Address"}, "or": {"anyOf": [address, {"type": "null"}]}},
            "$defs": {"Address": address},
        }
    )
    assert by_reference.accepts({"to": {"city": "Rome"}, "or": None})
    for bad in ({"to": {"city": 1}}, {"to": {"zip": 1}}, {"or": {"zip": 1}}, {"or": 1}, {"from": {}}):
        assert not by_reference.accepts(bad), bad
    either = {"properties": {"a": {}}, "anyOf": [{"required": ["b"], "properties": {"b": {}}}, {"required": ["a"]}]}
    one = tool({"type": "object", **either})
    assert one.accepts({"a": 1, "b": 2})
    assert not one.accepts({})
    assert not one.accepts({"a": 1, "c": 3})
    whole = {"allOf": [address, {"properties": {"zip": {}}}]}  # each knows one name of the same object
    assert tool(to=whole).accepts({"to": {"city": "Rome", "zip": 1}})
    assert tool({"type": "object", **whole}).accepts({"city": "Rome", "zip": 1})
    assert not tool({"type": "object", **whole}).accepts({"city": "Rome", "street": 1})
    extended = {"allOf": [{"$ref": "#/$defs/A"}, {"properties": {"zip": {}}}], "$defs": {"A": address}}
    assert tool({"type": "object", **extended}).accepts({"city": "Rome", "zip": 1})
    assert not tool({"type": "object", **extended}).accepts({"city": "Rome", "street": 1})


def test_a_tree_that_refers_to_itself():
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "value": {"type": "integer"}}}
    one = tool({"type": "object", "properties": {"tree": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}})
    assert one.accepts({"tree": {"next": {"next": {"value": 1}}}})
    assert not one.accepts({"tree": {"next": {"next": {"value": "1"}}}})


def test_nothing_is_fetched(monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for place in ("http://127.0.0.1/schema.json", "https://json-schema.org/x", "file:///etc/passwd", "other.json"):
        with pytest.raises(ValueError, match="nothing is fetched"):
            tool(x={"$ref": place})


@pytest.mark.parametrize("pattern", [r"^(a+)+$", r"^(a|aa)+$", r"^(\w+\s?)*$", r"(.*)*(.*)*(.*)*!"])
def test_patterns_end(pattern):
    one = tool(x={"type": "array", "items": {"type": "string", "pattern": pattern}})
    began = time.process_time()
    assert not one.accepts({"x": ["a" * 3000 + "\n;"] * 50})
    assert time.process_time() - began < 1.0
    assert one.accepts({"x": ["a!" if "!" in pattern else "a"]})  # and the next call has its own time


def test_the_patterns_of_a_call_share_their_time(monkeypatch):
    slow = "(a*)[bc]"  # n squared where there is neither: milliseconds for each of these
    one, never = (
        tool(x={"type": "array", "items": items}) for items in ({"pattern": slow}, {"not": {"pattern": slow}})
    )
    began = time.process_time()
    assert not never.accepts({"x": ["a" * 400] * 400})  # though none of them matches: there was no time to know
    assert time.process_time() - began < 1.0
    assert never.accepts({"x": ["a" * 400]})
    assert one.accepts({"x": ["ab"]})
    monkeypatch.setattr(schema, "PATTERNS_S", 0.0)
    assert not one.accepts({"x": ["ab"]})


def test_patterns():
    one = tool(x={"type": "string", "pattern": r"^\d{4}$"}, y={"pattern": "b"})
    assert one.accepts({"x": "2024", "y": "abc"})
    assert one.accepts({"y": 5})  # a pattern is of texts
    assert not one.accepts({"x": "24"})


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ([], "not a JSON Schema but list"),
        ("object", "not a JSON Schema but str"),
        ({"type": "dict"}, "arguments are an object"),
        ({"type": "array"}, "arguments are an object"),
        ({"type": "object", "properties": {"x": {"type": "float"}}}, "properties.x.type: 'float' is not valid"),
        ({"type": "object", "properties": {"x": {"type": "integer", "minimum": "1"}}}, "properties.x.minimum"),
        ({"type": "object", "required": "x"}, "required"),
        ({"type": "object", "properties": []}, "properties"),
        ({"type": "object", "properties": {"x": {"enum": 5}}}, "enum"),
        ({"$ref": "#/$defs/none"}, "must lead into the schema itself"),
        ({"$ref": "#"}, "leads to itself"),
        ({"properties": {"x": {"pattern": "("}}}, "not a regular expression"),
        ({"patternProperties": {"^x": {}}}, "not supported"),
        ({"properties": {"x": {"default": float("nan")}}}, "not JSON compliant"),
        ({"properties": {"x": {"default": object()}}}, "not JSON serializable"),
    ],
)
def test_schemas_that_cannot_be_used(schema, why):
    assert why in (schema_fault(schema) or "")
    with pytest.raises(ValueError, match="tool 'f': parameters: "):
        Tool({"name": "f", "parameters": schema if schema != [] else [1]})


def test_tools_without_a_name():
    for bad in ({}, {"parameters": {}}, {"name": " "}, {"name": 5}, {"function": {"description": "f"}}):
        with pytest.raises(ValueError, match="without a name"):
            Tool(bad)
    assert Tool({"type": "function", "function": {"name": "f"}}).name == "f"


def test_other_drafts_are_read_as_the_newest():
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
    schema |= {"properties": {"a": {"$ref": "#/definitions/A"}}, "definitions": {"A": {"type": "integer"}}}
    assert tool(schema).accepts({"a": 1})
    assert not tool(schema).accepts({"a": "1"})
    assert schema_fault(json.loads(json.dumps(schema))) is None
