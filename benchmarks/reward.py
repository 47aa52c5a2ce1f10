"""How fast rewards are: programs a second, beside a fresh interpreter each and beside a process each.

    python benchmarks/reward.py [--programs 200] [--repeats 7]

A program is a function of one line, another one each time, that is called twice; what it returns is compared with what it
should. Ours is the sandbox at each of its levels, with one fork server or two, and the whole `reward=coding` around it:
finding the program in a response, running it, judging. Beside it, in a process that has imported nothing else:

* `python -c` and `python -I -S -c`: a fresh interpreter for each program, whose printed values are read.
* the public way to evaluate HumanEval: for each program a Manager and a forked process, which disarms itself, works in a
  folder of its own under an alarm, and runs program and assertions with `exec`. It is no sandbox, and says so.

The sides take turns. On one core every process of a side is bound to it; on two a side has two servers, or two threads
that wait for processes. Then mathematics and function calls, through their whole rewards.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fresh_processes import OTHERS, source
from side_by_side import in_turns, machine, middle, paired_ratios, table

from llmft.config import build, compose
from llmft.sandbox import levels
from llmft.types import Check, Program, Rollout, Task

LEVELS = ("L1", "L2", "L2+", "none")
TIMES, LEAST = 7, 250  # the bars on one core: times as fast as a fresh interpreter, and programs a second


class Others:
    """The process that does it."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("fresh_processes.py"))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds(self, name: str, first: int, count: int, cores: Sequence[int]) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([name, first, count, len(cores), list(cores)]) + "\n")
        self.process.stdin.flush()
        return float(json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


# ---------------------------------------------------------------- ours


def sandbox(level: str, servers: int):
    unsafe = level == "none"
    wanted = ["reward=coding", f"reward.sandbox.servers={servers}", f"reward.sandbox.unsafe={str(unsafe).lower()}"]
    made = build(compose([*wanted, f"reward.sandbox.level={'auto' if unsafe else level}"]).reward.sandbox)
    if unsafe:  # what a machine that cannot isolate would have
        made._found = levels.Found("none", "measured", None, {})
    return made


def run_programs(servers, first: int, count: int) -> None:
    programs = [Program(source(number), calls=("f(1)", "f(2)")) for number in range(first, first + count)]
    for number, ran in enumerate(servers.run(programs), first):
        assert [one.value for one in ran.returned] == [1 + number, 2 + number], ran


def rollout(task, text: str):
    return Rollout(task, (), (), (), (), "policy", text, "end")


def coding(number: int):
    tests = (Check("call", "f(1)", 1 + number), Check("asserts", f"assert f(2) == {2 + number}"))
    question = ({"role": "user", "content": f"Write f, which adds {number}."},)
    return rollout(Task(str(number), question, "coding", tests=tests), f"So:\n\n```python\n{source(number)}```\n")


def plain_number(number: int):
    return rollout(Task(str(number), (), "math", answer=str(number)), f"Thus\n#### {number}.0")


def formula(number: int):
    task = Task(str(number), (), "math", answer=f"\\frac{{{number}}}{{{number + 1}}}")
    return rollout(task, f"Thus\n#### \\frac{{{2 * number}}}{{{2 * number + 2}}}")


def function_call(number: int):
    properties = {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F"]}}
    parameters = {"type": "object", "properties": properties, "required": ["city", "days"]}
    tool = {"name": "weather", "description": "Forecast.", "parameters": parameters}
    call = {"name": "weather", "arguments": {"city": "Bari", "days": number, "unit": "C"}}
    answer = json.dumps([{"name": "weather", "arguments": {"city": ["Bari"], "days": [number], "unit": ["C", ""]}}])
    task = Task(str(number), (), "function_calling", answer=answer, tools=({"type": "function", "function": tool},))
    return rollout(task, f"<tool_call>\n{json.dumps(call)}\n</tool_call>")


def whole_reward(opened: contextlib.ExitStack, name: str, make: Callable[[int], object], *overrides: str):
    """Scores so many distinct rollouts, all of which are right."""
    reward = build(compose([f"reward={name}", *overrides]).reward)
    opened.callback(reward.close)

    def score(first: int, count: int) -> None:
        scores = reward.score([make(number) for number in range(first, first + count)])
        assert all(score.correct for score in scores), scores[0]

    return score


# ---------------------------------------------------------------- turns


@contextlib.contextmanager
def bound_to(cores: Sequence[int]):
    """This thread, and the processes and threads that it starts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def speeds(work: dict[str, Callable[[int, int], float | None]], count: int, repeats: int) -> dict[str, list[float]]:
    """Of each side, per second; a side may tell its own seconds."""

    def side(job: Callable[[int, int], float | None]) -> Callable[[int], float]:
        def turn(repeat: int) -> float:
            began = time.perf_counter()
            told = job(1000 * (repeat + 1), count)
            return count / (told or time.perf_counter() - began)

        return turn

    for job in work.values():
        job(0, min(count, 20))  # what is started is warm
    return in_turns({name: side(job) for name, job in work.items()}, repeats)


def programs(cores: Sequence[int], others: Others, count: int, repeats: int, wanted: Sequence[str]):
    """Speeds of running programs on these cores, and why a level is missing."""
    work: dict[str, Callable[[int, int], float | None]] = {}
    missing = []
    with bound_to(cores), contextlib.ExitStack() as opened:
        for level in wanted:
            servers = sandbox(level, len(cores))
            if level != "none" and (faults := servers.faults()):
                missing.append(faults[0])
                continue
            opened.callback(servers.close)
            work[f"ours, {level}"] = lambda first, count, servers=servers: run_programs(servers, first, count)
        work["ours, all of reward=coding"] = whole_reward(
            opened, "coding", coding, f"reward.sandbox.servers={len(cores)}"
        )
        for name in OTHERS:
            work[name] = lambda first, count, name=name: others.seconds(name, first, count, cores)
        return speeds(work, count, repeats), missing


def table_of(found: list[dict[str, list[float]]]) -> str:
    """A line for each side: programs a second, and how often faster the sandbox and the reward are."""
    header = ["programs a second"]
    for cores in ("one core", "two cores")[: len(found)]:
        header += [cores, "L2 is faster by", "reward=coding by"]
    lines = []
    for name in found[0]:
        line = [name]
        for speeds_ in found:
            line.append(middle(speeds_[name], 0))
            for ours in ("ours, L2", "ours, all of reward=coding"):
                other = name in OTHERS and ours in speeds_
                line.append(middle(paired_ratios(speeds_[ours], speeds_[name]), 1) if other else "")
        lines.append(line)
    return table(header, lines)


def verdict(found: dict[str, list[float]]) -> str:
    """The bars, on one core."""
    level = "ours, L2" if "ours, L2" in found else next(iter(found))
    ratio = statistics.median(paired_ratios(found[level], found["python -c"]))
    speed = statistics.median(found[level])
    return (
        f"{level} on one core: {ratio:.1f} times a fresh interpreter (bar: {TIMES}), "
        f"{speed:.0f} programs a second (bar: {LEAST})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=200, help="of each side's turn")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--levels", nargs="+", choices=LEVELS, default=LEVELS)
    asked = parser.parse_args()
    usable = sorted(os.sched_getaffinity(0))
    places = [usable[:1], usable[:2]] if len(usable) > 1 else [usable]
    print(machine(1, ["math-verify"]), flush=True)
    print(f"{asked.programs} programs a turn, medians of {asked.repeats} turns, in brackets from where to where\n")
    others = Others()
    found = []
    for cores in places:
        some, missing = programs(cores, others, asked.programs, asked.repeats, asked.levels)
        found.append(some)
    others.close()
    print(table_of(found), *missing, verdict(found[0]), sep="\n\n", flush=True)
    with contextlib.ExitStack() as opened:
        rest = {
            "math, plain numbers": whole_reward(opened, "math", plain_number),
            "math, formulas by math-verify": whole_reward(opened, "math", formula),
            "function_calling, schema and values": whole_reward(opened, "function_calling", function_call),
        }
        rates = speeds(rest, asked.programs, asked.repeats)
    lines = [[name, middle(values, 0)] for name, values in rates.items()]
    print("\n" + table([f"rollouts a second, {len(usable)} cores", ""], lines))


if __name__ == "__main__":
    main()
