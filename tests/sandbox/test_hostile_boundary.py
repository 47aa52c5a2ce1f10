"""A program that cheats its tests from behind the call boundary passes none of them."""

from __future__ import annotations

import sys

import pytest
from omegaconf import OmegaConf

from llmft.config import ROOT, build
from llmft.types import Program

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")

TEXT = "assert f(1) == 2"
HONEST = "def f(x): return x + 1"
BASE_EXCEPTIONS = ("SystemExit(0)", "KeyboardInterrupt", "GeneratorExit", "StopIteration(2)", "StopAsyncIteration")
LIAR = """
class Liar:
    def __getattr__(self, name): return lambda *a, **k: True
    def __call__(self, *a, **k): return self
    def __eq__(self, o): return True
    def __ne__(self, o): return False
    def __lt__(self, o): return True
    __gt__ = __le__ = __ge__ = __contains__ = __lt__
    def __sub__(self, o): return 0
    __add__ = __radd__ = __rsub__ = __mul__ = __mod__ = __and__ = __or__ = __sub__
    def __hash__(self): return 2
    def __bool__(self): return True
    def __len__(self): return 2
    def __instancecheck__(self, o): return True
"""
# How a program takes over its end of the boundary.
SEIZED = """
import sys, os, struct, socket
boundary = next(m for n, m in sys.modules.items() if n.endswith('sandbox.boundary'))
plain = next(m for n, m in sys.modules.items() if n.endswith('sandbox.plain'))
Program = boundary.Program
"""
NAMES = """
asked = Program.perform
def perform(self, operation, *operands):
    if operation == 'names':
        return [{'f': lambda x: 5, EXTRA}, {}]
    return asked(self, operation, *operands)
Program.perform = perform
"""

CHEATS = {
    "an object that is equal to all": (LIAR + "f = Liar()", TEXT),
    "an object that is in order with all": (LIAR + "f = Liar()", "assert abs(f(1) - 2) < 1e-6"),
    "an object that is in order with all, reversed": (LIAR + "f = Liar()", "assert 1 < f(1) < 3"),
    "an integer of its own": ("class A(int):\n def __eq__(s, o): return True\ndef f(x): return A(0)", TEXT),
    "such in a list": ("class A(int):\n def __eq__(s, o): return True\ndef f(x): return [A(0)]", "assert f(1) == [2]"),
    "such as a key": (LIAR + "def f(x): return {Liar(): 1}", "assert f(1) == {2: 1}"),
    "such in a set": (LIAR + "def f(x): return {Liar()}", "assert 2 in f(1)"),
    "an object that is its own everything": (
        LIAR + "f = Liar()",
        "assert f(1).value == 2\nassert isinstance(f(1), int)",
    ),
    "an instance of all": (LIAR + "f = Liar()", "assert isinstance(2, f) and type(f(1)) is int"),
    "looks like the text": (
        "class A:\n def __repr__(s): return '2'\n def __eq__(s, o): return True\ndef f(x): return A()",
        TEXT,
    ),
    "ends a map": ("def f(x): raise StopIteration", "assert all(map(lambda c: f(c[0]) == c[1], [(1, 2), (2, 3)]))"),
    "ends a loop": (
        "def f(x): raise StopIteration",
        "for got, want in zip(map(f, [1, 2]), [2, 3]):\n    assert got == want",
    ),
    "ends a generator": ("def f(x): raise StopIteration", "assert all(f(x) == x + 1 for x in (1, 2))"),
    "a class of its own that ends a loop": (
        "class E(StopIteration): pass\ndef f(x): raise E",
        "for got, want in zip(map(f, [1, 2]), [2, 3]):\n    assert got == want",
    ),
    "goes in a call": ("import os\ndef f(x): os._exit(0)", TEXT),
    "goes where all exceptions are welcome": (
        "import os\ndef f(x): os._exit(0)",
        "try: f(-1)\nexcept: pass\nelse: raise AssertionError",
    ),
    "goes where all are welcome at last": (
        "import os\ndef f(x): os._exit(0)",
        "ok = False\ntry: f(-1)\nexcept BaseException: ok = True\nassert ok",
    ),
    "hangs in a call": ("def f(x):\n    while True: pass", TEXT),
    "hangs in a length": (
        "class A:\n def __len__(s):\n  while True: pass\ndef f(x): return A()",
        "assert len(f(1)) == 2",
    ),
    "a length that lies": (
        "class A(list):\n def __len__(s): return 3\ndef f(x): return A()",
        "assert len(f(1)) == 3 and f(1)[2] == 3",
    ),
    "a length of another type": (
        "class N(int): pass\nclass A:\n def __len__(s): return N(3)\ndef f(x): return A()",
        "assert len(f(1)) == 2",
    ),
    "an iteration without end": (
        "class A:\n def __iter__(s):\n  while True: yield 2\ndef f(x): return A()",
        "assert list(f(1)) == [2]",
    ),
    "contains all": (
        "class A:\n def __contains__(s, o): return True\n def __iter__(s): return iter(())\ndef f(x): return A()",
        "assert 2 in f(1)",
    ),
    "names of Python": (
        "abs = lambda x: 0\nall = any = lambda x: True\nrange = lambda *a: []\nlen = lambda x: 2\nsorted = list = lambda x: [2]\n"
        "isinstance = lambda *a: True\nround = lambda *a: 2\nf = lambda x: 5",
        "for _ in range(1): assert abs(f(1) - 2) < 1e-6\nassert all([f(1) == 2]) and sorted([f(1)]) == [2] and len([1]) == 1",
    ),
    "a module of Python": (
        "class math:\n isclose = staticmethod(lambda *a, **k: True)\ndef f(x): return 5",
        "assert math.isclose(f(1), 2)",
    ),
    "a module of Python, deep": (
        "class os:\n class path:\n  samefile = staticmethod(lambda *a: True)\n  basename = staticmethod(lambda p: '2')\ndef f(x): return '/5'",
        "assert os.path.basename(f(1)) == '2'",
    ),
    "the tests' own class": ("AssertionError = type('A', (Exception,), {})\ndef f(x): raise AssertionError", TEXT),
    "names without being asked": (
        SEIZED + NAMES.replace("EXTRA", "'range': lambda *a: [], 'len': lambda x: 0"),
        "for x in range(3): assert f(x) == x + 1\nassert len([f(1)]) == 0",
    ),
    "another set of builtins": (
        SEIZED + NAMES.replace("EXTRA", "'__builtins__': {'abs': lambda x: 0}"),
        "assert abs(f(1) - 2) < 1e-6",
    ),
    "functions of the text": (
        SEIZED + NAMES.replace("EXTRA", "'same': lambda *a: True, '__name__': '2'"),
        "def same(a, b): assert a == b\nsame(f(1), 2)",
    ),
    "nonsense on the wire": (SEIZED + "os.write(4, b'\\xff' * 5000)\ndef f(x): return 5", TEXT),
    "a short frame": (SEIZED + "os.write(4, struct.pack('>I', 100) + b'[')\nos.close(4)\ndef f(x): return 5", TEXT),
    "a deep frame": (
        SEIZED + "b = b'[' * 100000\nos.write(4, struct.pack('>I', len(b)) + b)\ndef f(x): return 5",
        TEXT,
    ),
    "another kind of frame": (
        SEIZED + "b = plain.encode(['passed', True])\nos.write(4, struct.pack('>I', len(b)) + b)\ndef f(x): return 5",
        TEXT,
    ),
    "answers before it is asked": (
        SEIZED
        + "b = plain.encode(['value', {'f': 5}, {}])\nfor _ in range(9): os.write(4, struct.pack('>I', len(b)) + b)\ndef f(x): return 5",
        TEXT,
    ),
    "asks without end": (
        SEIZED + "def f(g):\n    while True:\n        try: g(1)\n        except Exception: pass",
        "assert f(lambda x: x) == 2",
    ),
    "asks for what it may not": (
        SEIZED
        + "def f(g):\n    peer = [c.cell_contents for c in g.__closure__ if hasattr(c.cell_contents, 'ask')][0]\n"
        "    out = []\n    for n in range(-9, 9):\n        try: out.append(peer.ask('attribute', n, '__globals__'))\n        except Exception: pass\n    return 3",
        "want = 2\nassert f(lambda x: x) == want",
    ),
    "changes what it was not given": (
        SEIZED
        + "Program._call = lambda self, function, args, kwargs: [5, {'0': [2], '1': [], '=x': [], 'f': []}]\ndef f(x): return 5",
        "xs = [5]\nassert f(xs) == xs[0] - 3",
    ),
    "is a test that has passed": (
        SEIZED + "os.write(3, struct.pack('>I', 5) + b'Vtrue')\nos.write(3, struct.pack('>I', 1) + b'.')\nos._exit(0)",
        TEXT,
    ),
    "is a test that has passed, later": (
        SEIZED
        + "def f(x):\n    os.write(3, struct.pack('>I', 5) + b'Vtrue')\n    os.write(3, struct.pack('>I', 1) + b'.')\n    os._exit(0)",
        TEXT,
    ),
}
CHEATS |= {f"raises {name}": (f"def f(x): raise {name}", TEXT) for name in BASE_EXCEPTIONS}
CHEATS |= {f"is {name} when imported": (f"raise {name}", TEXT) for name in BASE_EXCEPTIONS}
CHEATS |= {
    f"raises {name} where that is no answer": (
        f"def f(x): raise {name}",
        "try: f(1)\nexcept ValueError: pass\nelse: assert False",
    )
    for name in BASE_EXCEPTIONS
}

# A number that stands in the tests alone: a program that finds it in its memory, or in its frames, has seen them.
HIDDEN = 778899665544332211
SEARCH_FRAMES = """
import gc, sys
def f(x):
    words = str(778899665544 * 1000000 + 332211)
    frame, seen = sys._getframe(), []
    while frame:
        seen += [repr(v) for v in [*frame.f_locals.values()] if isinstance(v, (str, bytes, bytearray, list, tuple, dict))]
        frame = frame.f_back
    seen += [repr(o)[:100000] for o in gc.get_objects() if type(o) in (list, tuple, dict, bytearray)]
    return int(words) if any(('== ' + words) in s for s in seen) else 5
"""
# write(2) from an address that is not there fails, and crashes nobody.
SEARCH_MEMORY = """
import ctypes, os
libc = ctypes.CDLL(None)
libc.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
libc.sbrk.restype = ctypes.c_void_p
def f(x):
    words, own = (str(778899665544) + '332211').encode(), 0
    read, write = os.pipe()
    top = libc.sbrk(0)
    arenas = sorted({id(object()) >> 20 << 20, id([]) >> 20 << 20, id('%r' % own) >> 20 << 20, id(f) >> 20 << 20, id(bytes(300)) >> 20 << 20})
    ranges = [(top - (96 << 20), top)] + [(a - (96 << 20), a + (32 << 20)) for a in arenas]
    found, done = 0, set()
    for low, high in ranges:
        for page in range(low >> 12, high >> 12, 4):
            if page in done: continue
            done.add(page)
            n = libc.write(write, page << 12, 16384)
            if n > 0:
                data = os.read(read, n)
                found += data.count(b'== ' + words)
    return int(words) if found else 5
"""
LEAKS = {"frames": SEARCH_FRAMES, "memory": SEARCH_MEMORY}

WORKS = {
    "a value": (HONEST, TEXT),
    "a change in place": ("def f(x): x.sort()", "xs = [3, 1]\nassert f(xs) is None\nassert xs == [1, 3]"),
    "an exception": (
        "def f(x): raise ValueError('no')",
        "try: f(1)\nexcept ValueError as e: assert str(e) == 'no'\nelse: assert False",
    ),
    "a class": (
        "class Stack:\n def __init__(s): s.items = []\n def push(s, x): s.items.append(x)\n def __len__(s): return len(s.items)",
        "s = Stack()\ns.push(3)\nassert len(s) == 1 and s.items == [3]",
    ),
    "a generator": (
        "def f(n):\n    for i in range(n): yield i",
        "assert list(f(3)) == [0, 1, 2]\nassert next(f(1)) == 0",
    ),
    "a function that is passed": (
        "def f(g, xs): return [g(x) for x in xs]",
        "assert f(lambda x: x * 2, [1, 2]) == [2, 4]",
    ),
    "humaneval's form": (
        "def add(a, b): return a + b",
        "def check(candidate):\n    assert candidate(2, 3) == 5\ncheck(add)",
    ),
}


def opened(wall_s: float):
    settings = OmegaConf.load(ROOT / "conf" / "sandbox" / "default.yaml")
    made = build(OmegaConf.merge(settings, {"wall_s": wall_s}))
    yield made
    made.close()


@pytest.fixture(scope="module")
def runs():
    """What came of each cheat, and of an honest program right after it."""
    sandbox, honest = next(servers := opened(0.5)), Program(HONEST, tests=(TEXT,))
    done = sandbox.run([job for source, text in CHEATS.values() for job in (Program(source, tests=(text,)), honest)])
    next(servers, None)
    return dict(zip(CHEATS, zip(done[::2], done[1::2], strict=True), strict=True))


@pytest.fixture(scope="module")
def patient():
    yield from opened(20)


def passed(ran) -> bool:
    """All of them; a share of the tests counts too, so that a cheat may not pass one."""
    return ran.status == "ok" and [one.value for one in ran.returned] == [True] * len(ran.returned) != []


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_passes_nothing(runs, name):
    ran, honest = runs[name]
    assert ran.status != "sandbox_error", ran
    assert not any(one.value is True for one in ran.returned), ran
    assert passed(honest), honest


@pytest.mark.parametrize("where", LEAKS)
def test_a_program_never_sees_its_tests(patient, where):
    """Nor does one that runs later see what was tested before it."""
    text = f"assert f(1) == {HIDDEN}"
    before = [Program(HONEST, tests=(f"{text}\n" * 50,)) for _ in range(8)]
    for ran in patient.run([*before, Program(LEAKS[where], tests=(text,)), Program(LEAKS[where], calls=("f(1)",))]):
        assert ran.status != "sandbox_error"
        assert not passed(ran)
        assert all(one.value != HIDDEN for one in ran.returned), ran


@pytest.mark.parametrize("name", WORKS)
def test_an_honest_program_passes(patient, name):
    source, text = WORKS[name]
    (ran,) = patient.run([Program(source, tests=(text, text))])
    assert passed(ran), ran


def test_one_failed_test_is_no_other_s(patient):
    (ran,) = patient.run([Program(HONEST, tests=("assert f(1) == 3", TEXT, "assert f(1) == 4", TEXT))])
    assert [one.value is True for one in ran.returned] == [False, True, False, True]
