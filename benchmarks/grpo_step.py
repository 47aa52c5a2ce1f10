"""GRPO against TRL's GRPOTrainer, from the lab's shipped base: seconds per step, time to an accuracy, peak memory.

    python benchmarks/grpo_step.py                       # seconds per step by phase, and memory
    python benchmarks/grpo_step.py --time-to-accuracy    # and the training seconds until 0.70 of held-out easy sums

Both sides train the same weights on the same tasks in the same order, 16 prompts with 8 responses each, scored by the
same function, with the same loss, optimizer and schedule; see `grpo_sides`. Ours is `train.py` as users run it: run
folder, metrics and progress included. TRL has gradient checkpointing, logging and saving off, and of the ways to pass
its 128 rows through the model it gets the one that is fastest here (``--variants`` also tries its other caches).

The sides take turns, each turn is a fresh run from the base, and its first steps are dropped. A ratio is TRL's seconds by
ours within one turn. Seconds are medians over the steps, so the phases need not add up.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from grpo_sides import OURS, PHASES, TRL, Run, config, side
from side_by_side import in_new_process, in_turns, machine, middle, paired_ratios, peak_mib, table

BARS = {"easy": 1.25, "mixed": 1.5, "time": 1.5}
PACKAGES = ("torch", "transformers", "trl", "lightning")
SKIP = 2  # first steps of a turn, in which memory is first touched
ROWS = tuple({"per_device_train_batch_size": rows} for rows in (32, 64, 128))
OTHERS = ({"cache_implementation": "static"}, {"use_transformers_continuous_batching": True})
TARGET, EVERY = 0.70, 5  # held-out accuracy to reach, and steps between two looks


def fastest(tier: str, steps: int, others: bool) -> dict[str, Any]:
    """The arguments with which TRL's step is fastest here."""
    runs = {
        str(changed): partial(lambda changed, turn: median(side(TRL)(tier, 1, steps, **changed)), changed)
        for changed in ROWS + OTHERS * others
    }
    seconds = in_turns(runs, 2)
    print(table(["TRL with", "seconds per step"], [[name, middle(values)] for name, values in seconds.items()]), "\n")
    return min(ROWS + OTHERS * others, key=lambda changed: min(seconds[str(changed)]))


def median(run: Run) -> float:
    return statistics.median(run.cut(SKIP, len(run.total)).total)


def compare_steps(tier: str, steps: int, turns: int, changed: dict[str, Any]) -> dict[str, Any]:
    """Print and return seconds per step of both sides, by phase."""
    sides = {name: partial(_turn, name, tier, steps, changed) for name in (OURS, TRL)}
    runs = in_turns(sides, turns)
    ratios = paired_ratios(*([statistics.median(run.total) for run in runs[name]] for name in (TRL, OURS)))
    rows = [
        [phase, *(middle([statistics.median(run.phases[phase]) for run in runs[name]], 4) for name in (OURS, TRL))]
        for phase in PHASES
    ]
    rows.append(
        ["**step**", *(middle([statistics.median(run.total) for run in runs[name]], 4) for name in (OURS, TRL))]
    )
    for title, of in (("groups without signal", "no_signal"), ("tokens per response", "length")):
        means = {name: [statistics.fmean(getattr(run, of)) for run in runs[name]] for name in (OURS, TRL)}
        rows.append([title, *(middle(means[name], 2) for name in (OURS, TRL))])
    print(table([f"{tier}: seconds", OURS, TRL], rows))
    print(f"\nratio {middle(ratios, 2)}, bar {BARS[tier]}\n", flush=True)
    return {"tier": tier, "trl": changed, "ratios": ratios, "rows": rows}


def _turn(name: str, tier: str, steps: int, changed: dict[str, Any], turn: int) -> Run:
    return side(name)(tier, turn + 1, steps + SKIP, **changed).cut(SKIP, steps + SKIP)


# ---------------------------------------------------------------------- time to an accuracy


class Judge:
    """Accuracy on held-out easy sums, the same for both sides: one response to each, drawn with the same noise."""

    def __init__(self, tasks: int) -> None:
        from llmft.config import build, part

        self.cfg = config("easy", 1, [f"evaluation.tasks={tasks}", "evaluation.perplexity=false"])
        source, splits = part(self.cfg.model)(), part(self.cfg.dataset)().load()
        self.tokens, reward = source.tokens(), build(self.cfg.reward)
        live = {"splits": splits, "tokens": self.tokens, "reward": reward, "context": source.context()}
        self.evaluation = part(self.cfg.evaluation)(**live)

    def accuracy(self, model: Any) -> float:
        from llmft.config import build
        from llmft.model.policy import CausalPolicy
        from llmft.seeds import Seeds

        policy = CausalPolicy(model)
        sampler = build(self.cfg.sampler, policy=policy, tokens=self.tokens)
        rollouts = build(self.cfg.rollout, sampler=sampler, tokens=self.tokens, memory=None)
        return self.evaluation.run(policy, rollouts, Seeds(1))["heldout/accuracy"]


def time_to_accuracy(name: str, tier: str, seed: int, limit: int, judge: Judge, changed: dict[str, Any]) -> dict:
    """Training seconds and steps until the judge sees the target, None if it never did."""
    seen: list[float] = []

    def enough(step: int, model: Any) -> bool:
        if step % EVERY:
            return False
        seen.append(judge.accuracy(model))
        return seen[-1] >= TARGET

    run = side(name)(tier, seed, limit, enough, **changed)
    reached = bool(seen) and seen[-1] >= TARGET
    steps = len(seen) * EVERY
    return {"seconds": sum(run.total[:steps]) if reached else None, "steps": steps, "accuracies": seen}


def compare_times(tier: str, seeds: list[int], limit: int, judge: Judge, changed: dict[str, Any]) -> dict[str, Any]:
    """Print and return the training seconds to the target of both sides, by seed."""
    rows, ratios, results = [], [], []
    for place, seed in enumerate(seeds):
        order = (OURS, TRL) if place % 2 == 0 else (TRL, OURS)
        found = {name: time_to_accuracy(name, tier, seed, limit, judge, changed) for name in order}
        ours, theirs = (found[name]["seconds"] for name in (OURS, TRL))
        ratio = theirs / ours if ours and theirs else None
        ratios += [ratio] if ratio else []
        rows.append([seed, *(_reached(found[name]) for name in (OURS, TRL)), f"{ratio:.2f}" if ratio else "-"])
        results.append({"seed": seed, **found})
    header = [f"{tier}: seed", *(f"{name}: seconds, steps to {TARGET:.2f}" for name in (OURS, TRL)), "ratio"]
    print(table(header, rows))
    print(f"\nratio {middle(ratios, 2) if ratios else 'not known'}, bar {BARS['time']}\n", flush=True)
    return {"tier": tier, "ratios": ratios, "seeds": results}


def _reached(found: dict[str, Any]) -> str:
    return f"{found['seconds']:.1f}, {found['steps']}" if found["seconds"] else f"not in {found['steps']} steps"


# ---------------------------------------------------------------------- memory


def memory_of(name: str, tier: str, steps: int, changed: dict[str, Any]) -> dict[str, float]:
    """Of this process, which should be a new one: MiB after the imports, and at most until the last step's end."""
    run, peaks = side(name), [peak_mib()]
    run(tier, 1, steps, lambda step, model: bool(peaks.append(peak_mib())), **changed)
    return {"imports": peaks[0], "peak": peaks[-1]}


def compare_memory(tier: str, steps: int, changed: dict[str, Any]) -> list[list[Any]]:
    rows = []
    for name in (OURS, TRL):
        call = ["--memory-of", name, "--tiers", tier, "--steps", str(steps), "--trl", json.dumps(changed)]
        used = in_new_process(__file__, call)
        rows.append([tier, name, *(f"{used[key]:,.0f}" for key in ("imports", "peak"))])
    return rows


# ---------------------------------------------------------------------- the command


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiers", nargs="+", choices=["easy", "mixed"], default=["easy", "mixed"])
    parser.add_argument("--steps", type=int, default=12, help=f"of a turn, after {SKIP} that are dropped")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--variants", action="store_true", help="let TRL also try its other caches: slow")
    parser.add_argument("--time-to-accuracy", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of the time to an accuracy")
    parser.add_argument("--limit", type=int, default=150, help="steps after which it is given up")
    parser.add_argument("--judged", type=int, default=1024, help="held-out tasks that it is measured on")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a few steps of everything, to see that it runs")
    parser.add_argument("--json", type=Path, help="also write everything here")
    parser.add_argument("--memory-of", choices=[OURS, TRL], help=argparse.SUPPRESS)
    parser.add_argument("--trl", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.quick:
        given.steps, given.turns, given.seeds, given.limit, given.judged = 2, 1, [1], EVERY, 16
    return given


def main(arguments: list[str] | None = None) -> None:
    given = parsed(arguments)
    torch.set_num_threads(given.threads)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    if given.memory_of:
        print(json.dumps(memory_of(given.memory_of, given.tiers[0], given.steps, given.trl)))
        return
    from grpo_sides.trl import arguments as trl_arguments

    print(machine(given.threads, PACKAGES))
    results: dict[str, Any] = {"machine": machine(given.threads, PACKAGES), "steps": [], "times": []}
    judge = Judge(given.judged) if given.time_to_accuracy else None
    memory = []
    for tier in given.tiers:
        best = fastest(tier, given.steps, given.variants) if not given.quick else ROWS[-1]
        print(f"GRPOConfig({trl_arguments(config(tier, 1), given.steps + SKIP, **best)})\n", flush=True)
        results["steps"].append(compare_steps(tier, given.steps, given.turns, best))
        if judge:
            results["times"].append(compare_times(tier, given.seeds, given.limit, judge, best))
        memory += compare_memory(tier, given.steps, best)
    results["memory"] = memory
    print(table(["tier", "side", "MiB after imports", "MiB at most"], memory))
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    sys.exit(main())
