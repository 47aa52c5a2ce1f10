"""What an expert's responses cost: a LUFFY step over a GRPO step of the same group size, from the lab's shipped base.

    python benchmarks/luffy_step.py

Both sides are `train.py` as users run it, `algorithm=luffy` with its guidance and without (``guidance=none``): everything
else is the same, group size and mini-batches included, and neither has the bonus for entropy, which is trained on every
row, also of groups without signal. LUFFY generates one row fewer and reads a trace instead.

First over groups that carry signal on both sides: problems that the base solves about half of the time, with a learning
rate of 0 so that it goes on doing so. Then as they come, on the mixed tier: GRPO skips the groups that are all wrong,
which LUFFY gives a signal, and so pays for.

The sides take turns, each turn is a fresh run, and its first steps are dropped. A ratio is LUFFY's seconds by GRPO's
within one turn; seconds are medians over the steps, so the phases need not add up.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import statistics
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["LLMFT_TARGETS"] = "luffy_clock."  # so that a config may name what is in there

import torch
from luffy_clock import Clock, Decided
from side_by_side import in_turns, machine, middle, paired_ratios, table

from llmft.config import ROOT, build, compose, part, settings, snapshot

sys.path.insert(0, str(ROOT))  # for train.py
LUFFY, GRPO = "LUFFY", "GRPO"
SIDES = {LUFFY: [], GRPO: ["guidance=none"]}
COMMON = ["algorithm=luffy", "algorithm.entropy_coef=0"]
STILL = ["dataset.tier=easy", "dataset._target_=luffy_clock.Decided", "optimizer.lr=0"]
MOVING = ["dataset.tier=mixed"]
PHASES = {  # of a step, and what they are in the log
    "rollout": ("time/guide_s", "time/generate_s"),
    "reward": ("time/reward_s",),
    "batch": ("time/logps_s",),
    "update": ("time/update_s",),
    "step": ("total",),
}
BARS = {"rollout": 1.0, "step": 1.1}  # over groups with signal
SKIP = 2  # first steps of a turn, in which memory is first touched
RESPONSES, BETWEEN = 32, (0.35, 0.65)  # to each problem, and the share of them that is right where it is kept


def decided(problems: int) -> frozenset[str]:
    """The ids of the training problems, of the first ``problems``, that the base solves about half of the time."""
    from llmft.protocols import Drawn
    from llmft.seeds import Seeds

    cfg = compose(["dataset.tier=easy"])
    source, reward = part(cfg.model)(), build(cfg.reward)
    policy, tokens = source.load(quantization=None, adapter=None, seeds=Seeds(0)), source.tokens()
    sampler = build(cfg.sampler, policy=policy, tokens=tokens)
    rollouts = build(cfg.rollout, sampler=sampler, tokens=tokens, memory=None)
    drawn = [Drawn(place, task) for place, task in enumerate(part(cfg.dataset)().load().train[:problems])]
    solved = {}
    for start in range(0, problems, 16):
        some = drawn[start : start + 16]
        for one, group in zip(some, rollouts.collect(some, [RESPONSES] * len(some), Seeds(0)), strict=True):
            solved[one.task.id] = statistics.fmean(score.value or 0.0 for score in reward.score(group))
    return frozenset(name for name, share in solved.items() if BETWEEN[0] <= share <= BETWEEN[1])


def run(side: str, common: Sequence[str], steps: int, turn: int) -> list[dict[str, float]]:
    """The rows of the log of ``steps`` steps, after those that are dropped."""
    from llmft.trainer.start import Start
    from train import fit

    overrides = [
        *(*COMMON, *common, *SIDES[side]),
        f"seed={turn + 1}",
        "evaluation.every=null",
        f"trainer.checkpoint_every={10**6}",
        "objective=train/reward_mean",
        f"trainer.max_steps={steps + SKIP + 1}",  # the last one makes a checkpoint
        "+callbacks.clock._target_=luffy_clock.Clock",
    ]
    cfg = compose(overrides)
    Clock.rows.clear()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        fit(cfg, Start(Path(folder), snapshot(cfg), settings(cfg), tuple(overrides), {}, None))
    return Clock.rows[SKIP : steps + SKIP]


def seconds(rows: Sequence[dict[str, float]], phase: str) -> float:
    """The median over the steps."""
    return statistics.median(sum(row[name] for name in PHASES[phase]) for row in rows)


def compare(title: str, common: Sequence[str], bars: Mapping[str, float], steps: int, turns: int) -> dict[str, Any]:
    """Print and return seconds per step of both sides, by phase, and what they had to do."""
    runs = in_turns({side: partial(run, side, common, steps) for side in SIDES}, turns)
    rows, ratios = [], {}
    for phase in PHASES:
        both = {side: [seconds(one, phase) for one in runs[side]] for side in SIDES}
        ratios[phase] = paired_ratios(both[LUFFY], both[GRPO])
        bar = f", bar {bars[phase]}" if phase in bars else ""
        rows.append([phase, *(middle(both[side], 4) for side in SIDES), middle(ratios[phase], 2) + bar])
    for name, key in (("groups without signal", "train/no_signal"), ("tokens generated", "speed/generated_tokens")):
        means = [[statistics.fmean(row[key] for row in one) for one in runs[side]] for side in SIDES]
        rows.append([name, *(middle(values, 2) for values in means), "-"])
    print(table([f"{title}: seconds", *SIDES, "ratio"], rows), "\n", flush=True)
    return {"title": title, "ratios": ratios, "rows": rows}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12, help=f"of a turn, after {SKIP} that are dropped")
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--problems", type=int, default=1024, help="among which those with signal are looked for")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a few steps of everything, to see that it runs")
    parser.add_argument("--json", type=Path, help="also write everything here")
    given = parser.parse_args(arguments)
    if given.quick:
        given.steps, given.turns, given.problems = 2, 1, 128
    torch.set_num_threads(given.threads)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    results: dict[str, Any] = {"machine": machine(given.threads, ("torch", "transformers", "lightning"))}
    print(results["machine"], "\n")
    Decided.kept = decided(given.problems)
    results["steps"] = [
        compare("groups with signal", STILL, BARS, given.steps, given.turns),
        compare("as they come, mixed tier", MOVING, {}, given.steps, given.turns),
    ]
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    sys.exit(main())
