"""What a pool of replayed trajectories costs while it grows.

python benchmarks/replay_pool.py FOLDER                     # 200,000 trajectories of 1,000 tokens: 1.6 GB in FOLDER
python benchmarks/replay_pool.py FOLDER --most 10000

At each size: a step's draw of 64 questions from the pool, with one trajectory of each; reading every trajectory of these
questions, which is what a choice by entropy does before its forward passes; taking in a step of 512 new trajectories;
making and writing a checkpoint, and its bytes; memory of the process. Medians of nine, but for the additions, which are
of the steps since the last size. At the end, going back to the last checkpoint.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from llmft.config import build, compose
from llmft.dataset.stream import TaskStream
from llmft.guidance.replay import Replay
from llmft.model.scratch import Scratch
from llmft.seeds import Seeds
from llmft.trainer.checkpoint import FolderCheckpointIO
from llmft.types import Author, Rollout, Score, Task

SIZES = (1_000, 10_000, 50_000, 200_000)
QUESTIONS, GROUPS, GROUP_SIZE = 45_000, 128, 8  # the papers' data, batch and group


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--most", type=int, default=SIZES[-1], help="trajectories")
    parser.add_argument("--tokens", type=int, default=1000, help="of a trajectory")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True)  # refuses one that is there: a pool is written into it

    tasks = [Task(f"q{number}", ({"role": "user", "content": f"{number}="},), "math") for number in range(QUESTIONS)]
    stream, replay = TaskStream(tasks, Seeds(0)), new_replay(asked.folder)
    saver, checkpoint = FolderCheckpointIO("benchmark"), asked.folder / "step_000001"
    print(
        f"{'trajectories':>12} {'draw ms':>8} {'read ms':>8} {'add ms':>7} {'save ms':>8} {'save MB':>8} {'RSS MB':>7}"
    )
    for size in (size for size in SIZES if size <= asked.most):
        added = []
        while replay.pool.trajectories < size:
            groups = new_groups(tasks, asked.tokens, replay.steps)
            added.append(timed(lambda groups=groups: replay.observe(groups)))
            del groups
        draws = [timed(lambda k=k: drawn(replay, stream, Seeds(k))) for k in range(9)]
        reads = [timed(lambda k=k: read(replay, stream, Seeds(k))) for k in range(9)]
        saves = [timed(lambda: saver.save_checkpoint(state_of(replay), checkpoint)) for _ in range(9)]
        written = sum(path.stat().st_size for path in checkpoint.iterdir())
        figures = [statistics.median(some) * 1e3 for some in (draws, reads, added, saves)]
        print(
            f"{replay.pool.trajectories:>12,} {figures[0]:>8.1f} {figures[1]:>8.1f} {figures[2]:>7.0f} {figures[3]:>8.1f} "
            f"{written / 1e6:>8.2f} {resident():>7.0f}",
            flush=True,
        )
    state = saver.load_checkpoint(checkpoint)["guidance"]
    again = new_replay(asked.folder)
    print(
        f"going back to the last checkpoint: {timed(lambda: again.load_state_dict(state)):.1f} s, RSS {resident():.0f} MB"
    )


def new_replay(folder: Path) -> Replay:
    source = Scratch(hidden_size=32, layers=1, heads=1, ffn_size=32, context=64, rope_theta=1e4, init_std=0.1)
    live = {"tokens": source.tokens(), "longest": 8192, "temperature": 1.0, "group_size": GROUP_SIZE}
    live |= {"architecture": source.architecture()}
    chosen = ["guidance=replay", "guidance.start_accuracy=null", "guidance.choice=random"]
    replay = build(compose(chosen).guidance, **live)
    replay.begin(policy=source, folder=folder / "guidance")  # type: ignore[arg-type]
    return replay


def new_groups(tasks: list[Task], tokens: int, step: int) -> list[list[Rollout]]:
    """From one to all but one response of each group is right; a wrong one, which is never stored, is short."""
    draw, chance = np.random.default_rng(step), random.Random(step)
    groups = []
    for task in chance.sample(tasks, GROUPS):
        prompt = (
            1,
            *(ord(letter) - 28 for letter in task.messages[0]["content"]),
        )  # as the characters' tokenizer has it
        right = chance.randrange(1, GROUP_SIZE)
        groups.append([new_row(task, prompt, draw, tokens if j < right else 1, j < right) for j in range(GROUP_SIZE)])
    return groups


def new_row(task: Task, prompt: tuple[int, ...], draw: np.random.Generator, tokens: int, right: bool) -> Rollout:
    ids, logps = tuple(draw.integers(3, 98, tokens).tolist()), tuple((-draw.random(tokens)).tolist())
    authors = (Author.POLICY,) * tokens
    return Rollout(task, prompt, ids, logps, authors, "policy", "", "end", Score(float(right), {}, right))


def state_of(replay: Replay) -> dict:
    return {"state_dict": {}, "guidance": replay.state_dict()}


def drawn(replay: Replay, stream: TaskStream, seeds: Seeds) -> None:
    replay.plan(replay.draw(stream, GROUPS, seeds), GROUP_SIZE, seeds)


def read(replay: Replay, stream: TaskStream, seeds: Seeds) -> None:
    for one in replay.draw(stream, GROUPS, seeds):
        if one.position < 0:
            for number in replay.pool.questions[one.task.id].numbers.values():
                replay.shards.read(number)


def timed(call: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def resident() -> float:
    """MB of memory that the process has."""
    told = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in told.splitlines() if line.startswith("VmRSS"))) / 1000


if __name__ == "__main__":
    main()
