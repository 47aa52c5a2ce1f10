"""Where a model fails on hard sums: in the working, or in copying the answer to its end.

    python experiments/lab_reasoning/workings.py bases/lab_addition_seed* --responses 8
    python experiments/lab_reasoning/workings.py logs/tables/lab_reasoning/hard-luffy-seed*/luffy/final

For answers of five and of six digits: responses to held-out hard problems, the share that is right, and the share whose
working is the expert's, whatever its answer.
"""

from __future__ import annotations

import argparse
from collections import Counter

import torch

from llmft.config import build, compose
from llmft.protocols import Drawn
from llmft.seeds import Seeds
from llmft.types import Rollout


def responses(folder: str, count: int) -> list[Rollout]:
    """Scored, ``count`` to each of 1,024 held-out hard problems, sampled at temperature 1."""
    cfg = compose(["dataset.tier=hard", f"model.path='{folder}'"])
    source, reward = build(cfg.model), build(cfg.reward)
    tokens, policy = source.tokens(), source.load(quantization=None, adapter=None, seeds=Seeds(0))
    sampler = build(cfg.sampler, policy=policy, tokens=tokens)
    rollouts = build(cfg.rollout, sampler=sampler, tokens=tokens, memory=None)
    tasks = [Drawn(place, task) for place, task in enumerate(build(cfg.dataset).load().heldout)]
    written = [one for group in rollouts.collect(tasks, [count] * len(tasks), Seeds(7)) for one in group]
    return [one.with_score(score) for one, score in zip(written, reward.score(written), strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="models")
    parser.add_argument("--responses", type=int, default=1, help="to each problem")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("| model | digits | responses | right | working right |\n| --- | ---: | ---: | ---: | ---: |")
    for folder in asked.folders:
        counts: Counter[tuple[int, str]] = Counter()
        for one in responses(folder, asked.responses):
            digits, working = len(one.task.answer or ""), one.text.partition("#")[0]
            counts[digits, "all"] += 1
            counts[digits, "right"] += one.reward == 1
            counts[digits, "working"] += working == one.task.traces[0].text.partition("#")[0]
        for digits in sorted({digits for digits, _ in counts}):
            total, right, working = (counts[digits, name] for name in ("all", "right", "working"))
            print(
                f"| {folder} | {digits} | {total} | {right} ({right / total:.1%}) | {working / total:.1%} |", flush=True
            )


if __name__ == "__main__":
    main()
