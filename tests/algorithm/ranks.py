"""One of the processes of test_two_ranks_make_the_step_of_one: ``ranks.py FILE WORLD RANK``.

Takes a step of each recipe, sums each update's gradient over the ranks, and has rank 0 write what came out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch.distributed as dist

sys.path.append(str(Path(__file__).parents[1]))
import conftest as parts
from double import in_float64

from llmft.algorithm.sft import SFT
from llmft.distributed import all_sum, sum_dicts
from llmft.model.scratch import Scratch
from llmft.seeds import Seeds
from llmft.types import Task, Trace

# Tasks 0 and 2 go to rank 0 of two, which has no signal in the first list and all of it in the second.
SILENT, DECIDED = ([1, 1, 1], [4, 2, 3]), ([1, 0, 0.5], [2, 8, 5])
RECIPES = {
    "grpo": {"average": "sequence"},
    "dr_grpo": {"average": "row_constant", "length": 8.0, "advantage": "group"},
    "dapo": {"average": "token", "mini_batches": 2, "epochs": 2},
    "luffy": {"average": "constant", "length": 8.0},
    "kl": {"average": "token", "kl_coef": 0.1, "entropy_coef": 0.01, "mini_batches": 2},
}
AND_THESE = {  # with the first rank silent
    "gspo": {"average": "sequence", "ratio": "sequence_mean", "mini_batches": 3},
    "rloo": {"ratio": "sequence_product", "advantage": "leave_one_out", "kl_coef": 0.1, "kl_in": "reward"},
    "refilled": {"average": "token", "refills": 2, "mini_batches": 2, "overlong_buffer": 0.5},
    "masked": {"average": "sequence", "mask_truncated": True, "refills": 1},
    "guided": {"average": "token", "mini_batches": 2, "entropy_coef": 0.01, "entropy_average": "sequence"},
    "imitating": {"average": "constant", "length": 8.0, "baseline": "own", "advantage": "group"},
}
LOSSES = {
    "guided": {"off_reshape": "gamma", "all_max": 0.006, "clip": "unguided"},  # a token of 128 has some 0.008
    "imitating": {"sft_coef": 0.5},
}


def main(file: str, world: int, rank: int) -> None:
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{file}.store", rank=rank, world_size=world)
    source = Scratch(hidden_size=32, layers=2, heads=2, ffn_size=64, context=256, rope_theta=1e4, init_std=0.2)
    results = {}
    for place, order in {"first": (SILENT, DECIDED), "second": (DECIDED, SILENT)}.items():
        tasks = [parts.task(number, *order[number % 2]) for number in range(3)]
        for name, changes in (RECIPES | AND_THESE if place == "first" else RECIPES).items():
            policy = in_float64(source.load(quantization=None, adapter=None, seeds=Seeds(0)))
            guidance = parts.Giving() if name in LOSSES else parts.Watching()
            options = {
                "tasks_per_step": 3,
                "group_size": 3,
                "loss": parts.token_loss(**LOSSES.get(name, {})),
                **changes,
            }
            algorithm = parts.policy_optimization(policy, guidance, **options)
            step = one_step(algorithm, policy, tasks)
            results[f"{name}, the {place} rank silent"] = {**step, "observed": sorted(guidance.seen)}
    answers = [
        Task(str(n), ({"role": "user", "content": "1+1="},), "math", traces=(Trace("2" * (n + 1) ** 2),))
        for n in range(3)
    ]
    policy = in_float64(source.load(quantization=None, adapter=None, seeds=Seeds(0)))
    options = {"tasks_per_step": 3, "mini_batches": 3, "which": "all", "length": None, "max_length": 64, "packing": 8}
    options |= {"without_trace": "stop", "min_reward": None, "reward": None}
    for average in ("token", "sequence"):  # in each update only one rank has an answer
        results[f"sft {average}"] = one_step(SFT(**options, average=average, tokens=source.tokens()), policy, answers)
    if rank == 0:
        with open(f"{file}.json", "w") as out:
            json.dump(results, out)
    if world > 1:
        dist.destroy_process_group()


def one_step(algorithm, policy, tasks) -> dict:
    step = algorithm.collect(parts.Stream(tasks), Seeds(0))
    gradients, metrics = [], {name: value for name, value in step.metrics.items() if not is_clock(name)}
    for index, update in enumerate(step.updates):
        if len(update):  # on every rank or on none
            gradient, sums = parts.gradient(algorithm, policy, update, 2)
            gradients.append(all_sum(gradient).tolist())
            metrics |= {f"{index} {name}": value for name, value in sum_dicts(sums).items()}
    rows = [int(all_sum((update.weight != 0).any(1).sum())) for update in step.updates]
    return {"gradients": gradients, "metrics": metrics, "rows": rows}


def is_clock(name: str) -> bool:
    return name.startswith("time/") or name == "speed/tokens_per_s"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
