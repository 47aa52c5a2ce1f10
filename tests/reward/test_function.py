"""A plain function as a part: called apart, allowed by the environment, told of by name where it breaks."""

from __future__ import annotations

import sys

import pytest
from breaking import BROKEN
from summed import summed

from llmft.config import ConfigError, check, compose
from llmft.reward.failed import Failed
from llmft.reward.function import Function, last_question
from llmft.types import Rollout, Task


@pytest.fixture(autouse=True)
def allowed(monkeypatch):
    monkeypatch.setenv("LLMFT_TARGETS", "breaking.,missing_package.")


def function(name: str, timeout_s: float = 20.0) -> Function:
    return Function(function=name, minimum=0.0, timeout_s=timeout_s, processes=2)


def rollout(text: str, prompt: str = "2+2=") -> Rollout:
    task = Task("t", ({"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}), "math")
    return Rollout(task, (), (), (), (), "policy", text, "end")


def test_a_function_of_prompt_and_completion():
    part = function("breaking.brief")
    assert part([rollout("4"), rollout("It is 4."), rollout("It is 4.", prompt="How much is it?")]) == [1.0, 0.0, 1.0]
    assert part.faults([]) == []
    part.close()


@pytest.mark.parametrize(("name", "value"), [("my_reward", 0.5), ("coding_reward", 0.5)])
def test_the_original_frameworks_way_works_unchanged(name, value):
    part = function(f"breaking.RewardFunction.{name}")
    assert part([rollout("ab")]) == [value]  # a quarter of two characters; always a half
    part.close()


def test_it_breaks_in_every_way_and_the_others_are_scored():
    reward = summed({"own": function("breaking.breaking", timeout_s=1.0)}, weights={"own": 1.0})
    scores = reward.score([rollout(text) for text in ["a", *BROKEN, "b"]])
    assert [score.value for score in scores] == [1.0, *[None] * len(BROKEN), 0.0]
    assert [score.failure for score in scores[1:-1]] == [f"own: {why}" for why in BROKEN.values()]
    reward.close()


def test_nothing_of_it_is_imported_here():
    part = function("breaking.brief")
    before = set(sys.modules)
    part([rollout("4")])
    assert part.faults([]) == []
    assert set(sys.modules) == before
    part.close()


def test_its_process_is_light():
    part = function("breaking.brief")
    part([rollout("4")])
    (pid, *_) = part.workers.pids()
    with open(f"/proc/{pid}/maps") as maps:
        assert "libtorch" not in maps.read()
    part.close()


@pytest.mark.parametrize(
    "name", ["os.system", "subprocess.getoutput", "mypackage.rewards.brief", "llmft.chat.as_response", "brief", "a b"]
)
def test_what_the_environment_does_not_allow_is_refused(name):
    with pytest.raises(ValueError, match=f"^function={name}: "):
        function(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("breaking.breif", "breaking has no 'breif'; look at its name"),
        ("breaking.RewardFunction.other", "RewardFunction has no 'other'; look at its name"),
        ("breaking.getoutput", "breaking.getoutput is imported there from elsewhere; name what is your own"),
        ("breaking.os.system", "breaking.os is imported there from elsewhere; name what is your own"),
        ("breaking.number", "int is no function; name one"),
        ("breaking.asks_for_more", "it is called with a prompt and a completion: missing a required argument"),
        ("missing_package.rewards.brief", "ModuleNotFoundError: No module named 'missing_package'"),
    ],
)
def test_what_cannot_be_called_is_a_fault_before_the_run(name, why):
    (fault,) = function(name).faults([])
    assert fault.startswith(f"function={name}: {why}")


def test_the_last_question():
    turns = [("user", "One?"), ("assistant", "Yes."), ("user", "Two?"), ("assistant", "No")]
    messages = tuple({"role": role, "content": content} for role, content in turns)
    assert last_question(Task("t", messages, "chat")) == "Two?"
    parts = [{"type": "image"}, {"type": "text", "text": "What "}, {"type": "text", "text": "is it?"}]
    assert last_question(Task("t", ({"role": "user", "content": parts},), "chat")) == "What is it?"
    assert last_question(Task("t", ({"role": "system", "content": "Talk."},), "chat")) == "Talk."
    assert last_question(Task("t", (), "chat")) == ""


def test_the_config_names_it():
    check(compose(["reward=function", "reward.parts.function.function=breaking.brief"]))
    with pytest.raises(ConfigError, match="expected int"):
        check(compose(["reward=function", "reward.parts.function.function=a.b", "reward.parts.function.processes=x"]))


def test_a_failure_is_an_exception_in_the_values_place():
    part = function("breaking.breaking")
    (failed,) = part([rollout("raise")])
    assert isinstance(failed, Failed)
    assert str(failed) == "ValueError: no idea"
    part.close()
