"""A program that cheats gets nothing from `reward=coding`, from the text of a response to its value."""

from __future__ import annotations

import sys

import pytest
from omegaconf import OmegaConf

from llmft.config import ROOT, build
from llmft.reward.coding import tests as coding
from llmft.types import Check, Rollout, Task

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")

LIAR = """
class Liar:
    def __call__(self, *a, **k): return self
    def __eq__(self, o): return True
    def __hash__(self): return 2
    def __bool__(self): return True
"""
# A program, one test of it, and what the reward must be.
REWARDED = {
    "honest": ("def f(x): return x + 1", Check("call", "f(1)", 2), 1.0),
    "equal to all": (LIAR + "f = Liar()", Check("call", "f(1)", 2), 0.0),
    "equal to all, asserted": (LIAR + "f = Liar()", Check("asserts", "assert f(1) == 2"), 0.0),
    "its own built-ins": ("set = list\ndef f(n): return [1] * n", Check("asserts", "assert len(set(f(5))) == 5"), 0.0),
    "an integer too long": (
        "import sys\nsys.set_int_max_str_digits(0)\ndef f(x): return 10 ** 5000",
        Check("call", "f(1)", 2.5),
        0.0,
    ),
    "no text": ("def f(x): return '\\ud800'", Check("call", "f(1)", "2"), 0.0),
    "no source": ("def f(x): return '\ud800'", Check("call", "f(1)", 2), 0.0),
    "a source that ends early": ("def f(x): return 2\0", Check("call", "f(1)", 2), 0.0),
    "leaves": ("import os\nprint(2, flush=True)\nos._exit(1)", Check("stdio", "1\n", "2\n"), 0.0),
    "begins the output": ("print(2)", Check("stdio", "1\n", "2\n3\n"), 0.0),
    "more than the output": ("print(2)\nprint(3)", Check("stdio", "1\n", "2\n"), 0.0),
    "kills itself": ("import os, signal\ndef f(x): os.kill(os.getpid(), 9)", Check("call", "f(1)", 2), 0.0),
}


@pytest.fixture(scope="module")
def sandbox():
    settings = OmegaConf.load(ROOT / "conf" / "sandbox" / "default.yaml")
    made = build(OmegaConf.merge(settings, {"wall_s": 20}))
    yield made
    made.close()


@pytest.mark.parametrize("name", REWARDED)
def test_what_the_reward_gives(sandbox, name):
    source, check, expected = REWARDED[name]
    part = coding.Tests(score="share", unfenced="whole", after=None, sandbox=sandbox)
    task = Task("t", ({"role": "user", "content": "Write f."},), "coding", tests=(check,))
    rollout = Rollout(task, (), (), (), (), "policy", f"```python\n{source}\n```", "end")
    assert part([rollout]) == [expected]
