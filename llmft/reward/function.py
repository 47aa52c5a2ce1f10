"""A plain function ``(prompt, completion) -> float`` as a part of a reward."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt

from llmft.config.allow import TargetError, admit_own, is_own
from llmft.reward.failed import Failed, number
from llmft.reward.workers import Work, Workers

if TYPE_CHECKING:  # its processes start without torch
    from llmft.types import Rollout, Task


class Function:
    """What ``function(prompt, completion)`` returns, called in processes of its own.

    The prompt is the text of the task's last message by the user; the completion is the response's text. What the
    function prints goes to standard error.

    Args:
        function: its full name, ``mypackage.rewards.brief`` or ``mypackage.rewards.RewardFunction.my_reward``; the
            environment must allow its package, ``LLMFT_TARGETS=mypackage.``, and is asked before anything is imported.
        minimum: the least that it returns.
        timeout_s: seconds that it may take for one response.
        processes: responses at a time; None for as many as there are cores.
    """

    bounded = True  # by its processes

    def __init__(
        self,
        *,
        function: str,
        minimum: float,
        timeout_s: Annotated[float, Gt(0)],
        processes: Annotated[int, Ge(1)] | None,
    ) -> None:
        try:
            admit_own(function)
        except TargetError as error:
            raise ValueError(f"function={function}: {error}") from None
        self.function, self.minimum, self.timeout_s = function, minimum, timeout_s
        self.workers = Workers(partial(found, function), processes=processes, quiet=False)

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float | Exception]:
        asked = [(last_question(rollout.task), rollout.text) for rollout in rollouts]
        replies = self.workers.map(asked, self.timeout_s)
        return [reply.value if reply.state == "done" else Failed(reply.value) for reply in replies]

    def faults(self, tasks: Sequence[Task]) -> list[str]:
        """Why it cannot be called."""
        fault = self.workers.fault()
        return [f"function={self.function}: {fault}"] if fault else []

    def close(self) -> None:
        self.workers.close()


def last_question(task: Task) -> str:
    """The text of the task's last message by the user, without what is no text; that of its last message if none is."""
    messages = [one for one in task.messages if one.get("role") == "user"] or list(task.messages)
    content = messages[-1].get("content") if messages else None
    if isinstance(content, str) or content is None:
        return content or ""
    return "".join(part.get("text", "") for part in content)


def found(name: str) -> Work:
    """In a process of its own: calls the function of that name with a prompt and a completion."""
    function = _resolved(name)
    try:
        inspect.signature(function).bind("prompt", "completion")
    except TypeError as error:
        raise Failed(
            f"it is called with a prompt and a completion: {error}; write it as (prompt, completion)"
        ) from None
    except ValueError:  # it does not tell what it takes
        pass
    return lambda asked: number(function(*asked))


def _resolved(name: str) -> Callable[..., Any]:
    """The function: an attribute of a module, or of a class in one, and no import that they happen to hold."""
    home, *inside = name.split(".")
    thing: Any = import_module(home)
    for part in inside:
        home = f"{home}.{part}"
        try:
            thing = getattr(thing, part)
        except AttributeError:
            thing = _imported(home, part, thing)
        if thing.__name__ != home if isinstance(thing, ModuleType) else not _of_the_users(thing, name):
            raise Failed(f"{home} is imported there from elsewhere; name what is your own")
    if not callable(thing):
        raise Failed(f"{type(thing).__name__} is no function; name one")
    return thing


def _of_the_users(thing: Any, name: str) -> bool:
    """Was this function or class defined in what the environment allows? Of an object it is enough that it is there."""
    home = getattr(thing, "__module__", None)
    defined = isinstance(thing, type) or inspect.isroutine(thing)
    return not defined or (isinstance(home, str) and (is_own(f"{home}.") or name.startswith(f"{home}.")))


def _imported(home: str, part: str, inside: Any) -> Any:
    try:
        return import_module(home)
    except ModuleNotFoundError as error:
        if error.name and not f"{home}.".startswith(f"{error.name}."):
            raise  # something that the module itself needs
        raise Failed(f"{inside.__name__} has no {part!r}; look at its name") from None
