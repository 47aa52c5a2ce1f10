"""The tests' end of the boundary: test texts are run here, with proxies for what they use of the program."""

from __future__ import annotations

import ast
import builtins
import importlib
import symtable
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from llmft.sandbox.boundary import Channel, Gone, Peer, message_of
from llmft.sandbox.plain import NotPlain

TEXT = "<test>"  # as a file's name


def run_tests(tests: Sequence[str], channel: Channel, answer: Callable[[bool, str | None], None]) -> None:
    """Run each text in a namespace of its own, and tell ``answer`` at once whether it passed, or what it raised.

    Raises Gone where the program's end is no longer there.
    """
    program = Tests(channel)
    for text in tests:
        try:
            _run(text, program)
            program.ask("names", [])  # raises Gone: a text may have caught that the program left
        except Gone:
            raise
        except BaseException as error:
            answer(False, f"{type(error).__name__}: {message_of(error)}")
        else:
            answer(True, None)


def _run(text: str, program: Tests) -> None:
    code = compile(text, TEXT, "exec")
    wanted = free_names(text)
    modules = module_names(text) & wanted
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}
    there = program.ask("names", sorted(wanted - modules))  # and no others: it would stand in for Python's own
    namespace |= {name: there[name] for name in wanted - modules if name in there}
    namespace |= {name: importlib.import_module(name) for name in modules}
    exec(code, namespace)
    for name in uncalled_tests(text):
        namespace[name]()


def free_names(text: str) -> set[str]:
    """The names that a text uses and neither defines nor has from Python: the program's."""
    top = symtable.symtable(text, TEXT, "exec")
    used, bound = set(), set()
    for table in _tables(top):
        for symbol in table.get_symbols():
            if table is top or symbol.is_global():
                used |= {symbol.get_name()} if symbol.is_referenced() else set()
                bound |= {symbol.get_name()} if symbol.is_assigned() or symbol.is_imported() else set()
    return {name for name in used - bound if not hasattr(builtins, name) and not name.startswith("__")}


def module_names(text: str) -> set[str]:
    """Standard modules that a text uses only for what is in them: `math.isclose`. A program must not stand in for it."""
    names = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)]
    owners = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)]
    inside = [node.id for node in owners if isinstance(node, ast.Name)]
    counted = {name: inside.count(name) for name in inside if name in sys.stdlib_module_names}
    return {name for name, count in counted.items() if count == sum(node.id == name for node in names)}


def uncalled_tests(text: str) -> list[str]:
    """The functions `test...` without parameters that the text defines and never uses: they are called after it."""
    tree = ast.parse(text)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test")]
    return [one.name for one in functions if one.name not in used and not ast.unparse(one.args)]


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)


class Tests(Peer):
    """The end in the tests' process. What comes from the other is data, handles and exceptions, and never code."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self.handles: dict[int, Handle] = {}
        self.classes: dict[int, type[Exception]] = {}  # the program's exceptions, as classes of ours
        self.callbacks: list[Callable[..., Any]] = []

    def accept(self, kind: str, content: list[Any]) -> Any:
        try:
            if kind == "value":
                value, self.changes = content
                return value
            raised, message, args, error = content
            exception = self._exception(raised, message, args, error)
        except Exception:
            raise Gone("no answer") from None
        raise exception

    def call(self, function: Handle, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = self.ask("call", function, list(args), kwargs)
        given = {str(index): one for index, one in enumerate(args)} | {f"={name}": one for name, one in kwargs.items()}
        try:
            for key, changed in self.changes.items():
                _change(given[key], changed)
        except Exception:
            raise Gone("no answer") from None
        return value

    def perform(self, operation: str, *operands: Any) -> list[Any]:
        """Calls of functions that a text passed to the program; the program may ask for nothing else."""
        if operation != "call":
            raise Gone("it may only call")
        number, args, kwargs = operands
        if type(number) is not int or not 0 <= number < len(self.callbacks):
            raise Gone("no such callback")
        return [self.callbacks[number](*args, **kwargs)]

    def stand_in(self, value: Any) -> Any:
        if type(value) is Handle:
            return {"object": object.__getattribute__(value, "_number")}
        if value in self.classes.values() if isinstance(value, type) else False:
            return {"object": next(number for number, cls in self.classes.items() if cls is value)}
        if getattr(builtins, getattr(value, "__name__", ""), None) is value:
            return {"builtin": value.__name__}
        if callable(value):
            self.callbacks.append(value)
            return {"callback": len(self.callbacks) - 1}
        raise NotPlain(f"{type(value).__name__}: a test passes plain data and functions to a program")

    def resolve(self, sign: Any) -> Any:
        if "exception" in sign:
            return self._class(sign["exception"])
        return self._handle(sign["object"])

    def _handle(self, number: int) -> Handle:
        if type(number) is not int:
            raise NotPlain("a handle")
        if number not in self.handles:
            self.handles[number] = Handle(self, number)
        return self.handles[number]

    def _exception(self, raised: Any, message: Any, args: Any, error: Any) -> Exception:
        cls = self._class(raised)
        if issubclass(cls, StopIteration | StopAsyncIteration):  # else it would end a loop of the test, as if all held
            return RuntimeError(f"the program raised {cls.__name__}")
        try:
            exception = cls(*args)
        except Exception:
            exception = Exception(f"{cls.__name__}: {message}")
        exception.__dict__["_object"] = error
        return exception

    def _class(self, described: Any) -> type[Exception]:
        """Ours for one of the program's classes of exceptions."""
        if type(described) is str:
            cls = getattr(builtins, described)
            if not (isinstance(cls, type) and issubclass(cls, Exception)):
                raise NotPlain(described)
            return cls
        number, name, base = described
        if number not in self.classes:
            members = {"__getattr__": lambda error, key: getattr(error.__dict__["_object"], key)}
            self.classes[number] = type(str(name), (self._class(base),), members)
        return self.classes[number]


def _change(here: Any, changed: Any) -> None:
    """Make a container that was passed to the program what the program made of it."""
    if type(here) is not type(changed):
        raise TypeError
    here.clear()
    here.extend(changed) if type(here) in (list, bytearray) else here.update(changed)


class Handle:
    """An object of the program. Its truth, length, text and number are what the program says; equality is identity."""

    __slots__ = ("_number", "_tests")

    def __init__(self, tests: Tests, number: int) -> None:
        object.__setattr__(self, "_tests", tests)
        object.__setattr__(self, "_number", number)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return object.__getattribute__(self, "_tests").call(self, args, kwargs)

    def __getattribute__(self, name: str) -> Any:
        if name in OWN:
            return object.__getattribute__(self, name)
        return _ask(self, "attribute", name)

    def __setattr__(self, name: str, value: Any) -> None:
        _ask(self, "set_attribute", name, value)

    def __iter__(self) -> Iterator[Any]:
        iterator = _ask(self, "iterator")
        while item := _ask(iterator, "next"):
            yield item[0]

    def __next__(self) -> Any:
        if item := _ask(self, "next"):
            return item[0]
        raise StopIteration

    def __contains__(self, wanted: Any) -> bool:
        return any(item is wanted or item == wanted for item in self)

    def __instancecheck__(self, value: Any) -> bool:
        return _ask(self, "has_instance", value)

    def __exit__(self, *raised: Any) -> None:
        """The program cannot swallow what a test raises."""
        _ask(self, "exit")


def _ask(handle: Handle, operation: str, *operands: Any) -> Any:
    return object.__getattribute__(handle, "_tests").ask(operation, handle, *operands)


def _asking(operation: str, *types: type) -> Callable[..., Any]:
    """A method that leaves ``operation`` to the program, whose answer must be of one of ``types``, if any are named."""

    def method(self: Handle, *operands: Any) -> Any:
        value = _ask(self, operation, *operands)
        if types and type(value) not in types:
            raise TypeError(f"{operation} of the program's object is {type(value).__name__}")
        return value

    return method


for _name, _operation, *_types in (
    ("__bool__", "truth", bool),
    ("__len__", "length", int),
    ("__getitem__", "item"),
    ("__setitem__", "set_item"),
    ("__delitem__", "delete_item"),
    ("__str__", "text", str),
    ("__repr__", "representation", str),
    ("__int__", "integer", int),
    ("__index__", "index", int),
    ("__float__", "real", float),
    ("__complex__", "complex", complex),
    ("__abs__", "absolute"),
    ("__neg__", "negative"),
    ("__round__", "rounded"),
    ("__copy__", "copy"),
    ("__deepcopy__", "deep_copy"),
    ("__enter__", "enter"),
):
    setattr(Handle, _name, _asking(_operation, *_types))

OWN = frozenset(dir(Handle)) - {"__doc__", "__module__"}  # what Python asks of every object; the rest is the program's
