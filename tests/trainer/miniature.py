"""A run in miniature: real parts around a model of 20 thousand parameters, or a linear model on features."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from plain import token_loss
from torch import nn

from llmft.dataset.stream import TaskStream
from llmft.guidance.none import Unguided
from llmft.guidance.replay import Replay
from llmft.rollout.single import Single
from llmft.schedule.warmup_cosine import WarmupCosine
from llmft.seeds import Seeds
from llmft.trainer import shelf
from llmft.trainer.checkpoint import FolderCheckpointIO
from llmft.trainer.evaluation import Evaluation
from llmft.trainer.metrics import read
from llmft.trainer.run import RunFolder
from llmft.trainer.trainer import Trainer
from llmft.types import Score, Splits, Step, Task, Trace

TASKS = tuple(
    Task(f"sum-{a}-{b}", ({"role": "user", "content": f"{a}+{b}="},), "math", str(a + b), (Trace(str(a + b)),))
    for a in range(5)
    for b in range(5)
)


class Graded:
    """A reward that random text differs in: how many of its characters are digits or small letters."""

    def score(self, rollouts):
        good = [sum(one.isdigit() or one.islower() for one in rollout.text) for rollout in rollouts]
        return [Score(float(n), {"good": float(n)}, correct=n > 2) for n in good]

    def require_sound(self, rollouts):
        """It never fails."""

    def faults(self, tasks):
        return []

    def gold_faults(self, tasks, tokens):
        return []


class Rare:
    """A reward that some groups do not differ in: does the text begin with a small letter?"""

    def score(self, rollouts):
        return [Score(float(one.text[:1].islower()), {}, correct=one.text[:1].islower()) for one in rollouts]

    def require_sound(self, rollouts):
        """It never fails."""

    def faults(self, tasks):
        return []


@dataclass
class Features:
    """A batch that has no tokens."""

    x: torch.Tensor
    y: torch.Tensor
    weight: torch.Tensor

    def __len__(self) -> int:
        return len(self.x)

    def split(self, micro_batch: int) -> Iterator[Features]:
        for start in range(0, len(self), micro_batch):
            rows = slice(start, start + micro_batch)
            yield Features(self.x[rows], self.y[rows], self.weight[rows])

    def none(self) -> Features:
        return Features(self.x[:0], self.y[:0], self.weight[:0])

    def to(self, device):
        return self


class Line:
    """Least squares on features drawn from each task's name: an algorithm that knows neither text nor rollouts."""

    def __init__(self, *, updates: int = 2, rows: int = 6) -> None:
        self.updates, self.rows = updates, rows
        self.seen: list[str] = []
        self.value = nn.Linear(1, 1).double()
        self.nonfinite_at: int | None = None
        self.silent: set[int] = set()
        self.step = 0

    def collect(self, tasks, seeds):
        drawn = tasks.take(self.rows)
        self.step += 1
        self.seen += [one.task.id for one in drawn]
        noise = [torch.Generator().manual_seed(seeds.stream("x", one.position) % 2**63) for one in drawn]
        rows = [torch.randn(3, generator=generator, dtype=torch.float64) for generator in noise]
        x = torch.stack(rows) if rows else torch.zeros(0, 3, dtype=torch.float64)
        if self.step in self.silent:
            return Step([], (), {})
        y = x.sum(1) + torch.rand(1, dtype=torch.float64)  # the last from the global generator, as dropout would
        if self.step == self.nonfinite_at:
            y = y * 1e200  # its square is no double
        return Step([Features(x, y, torch.full((len(x),), 1 / self.rows))] * self.updates, (), {"train/rows": len(x)})

    def loss(self, policy, part):
        error = (policy(part.x)[:, 0] - part.y) ** 2 + 0 * self.value(part.y[:, None])[:, 0]
        return (error * part.weight).sum(), {"train/error": (error.detach() * part.weight).sum()}

    def report(self, sums):
        return dict(sums)

    def extra_modules(self):
        return {"value": self.value}

    def state_dict(self):
        return {"seen": list(self.seen), "last": torch.tensor([len(self.seen)])}

    def load_state_dict(self, state):
        self.seen = list(state["seen"])


@dataclass
class Session:
    """One process's share of a run: `fit` may be cut, and another session may go on in the same folder."""

    path: Path
    trainer: Trainer
    run: RunFolder

    def fit(self) -> None:
        with self.run:
            self.trainer.fit()


OPTIONS = {
    "accelerator": "cpu",
    "devices": 1,
    "strategy": "auto",
    "precision": "32-true",
    "threads": 1,
    "max_steps": 4,
    "micro_batch": 4,
    "max_grad_norm": 1.0,
    "skip_grad_norm": None,
    "on_nonfinite": "stop",
    "max_nonfinite": 2,
    "log_every": 1,
    "samples_every": 1,
    "samples_per_step": 2,
    "checkpoint_every": 1,
    "keep_checkpoints": 2,
}
MANIFEST = {"files": {"data": {}, "model": {}}}


POLICY = {
    "group_size": 3, "epochs": 1, "refills": 0, "ratio": "token", "clip_low": 0.2, "clip_high": 0.2, "clip_dual": None,
    "advantage": "group_std", "baseline": "union", "overlong_buffer": 0.0, "mask_truncated": False, "kl_coef": 0.01,
    "kl_in": "loss", "kl_estimator": "k3", "entropy_coef": 0.0, "entropy_average": None, "entropy_target": None,
    "entropy_lr": None, "reference_rows": 8,
}  # fmt: skip
REPLAY = {
    "share": 0.5, "start_accuracy": 0.1, "least_solved": 0, "most_solved": None, "buckets": "normal", "mean": 0.5,
    "deviation": 1.0, "part": "all", "choice": "entropy", "pick": "lowest", "rows": 4, "correction": "stored",
    "retire": True, "max_trajectories": None, "max_age": None, "pool": None,
}  # fmt: skip
STEERED = {"refills": 2, "kl_in": "reward", "entropy_coef": 0.01, "entropy_target": 1.0, "entropy_lr": 0.1}


def make_session(
    kind, path, source, tokens, *, resume=False, callbacks=None, algorithm=None, evaluate=2, reward=None, **options
) -> Session:
    """A run that is ready to `fit`: of `Line`, ``sft``, ``grpo``, ``steered``, which is GRPO with all that has a state, or
    ``replay``, which is that with past successes, whose shards have few tokens."""
    path.mkdir(exist_ok=True)
    settings = OPTIONS | options
    run = RunFolder(path, objective="heldout/accuracy" if kind != "line" else "train/loss", tokens=tokens)
    if resume:
        run.resume("config", MANIFEST, [], settings["max_steps"])
    else:
        run.begin("config", MANIFEST)
    parts = _line_parts(algorithm) if kind == "line" else _language_parts(kind, path, source, tokens, evaluate, reward)
    trainer = Trainer(
        **settings,
        **parts,
        tokens=tokens if kind != "line" else None,
        tasks=TaskStream(TASKS, Seeds(1).child("tasks")),
        optimizer=partial(torch.optim.AdamW, lr=1e-2),
        schedule=WarmupCosine(warmup_steps=2, final_fraction=0.1),
        seeds=Seeds(1),
        run=run,
        callbacks=callbacks or {},
        loggers={},
    )
    return Session(path, trainer, run)


def _line_parts(algorithm):
    algorithm, policy = algorithm or Line(), nn.Linear(3, 1).double()
    with torch.no_grad():
        for parameter in [*policy.parameters(), *algorithm.value.parameters()]:
            parameter.fill_(0.5)
    return {"algorithm": algorithm, "policy": policy, "rollouts": None, "sampler": None, "evaluation": None}


def _language_parts(kind, path, source, tokens, evaluate, reward):
    reward = reward or (Rare() if kind in ("steered", "replay") else Graded())
    from llmft.algorithm.policy import PolicyOptimization
    from llmft.algorithm.sft import SFT
    from llmft.sampler.native import Native

    policy = source.load(quantization=None, adapter=None, seeds=Seeds(0))
    sampler = Native(max_rows=64, policy=policy, tokens=tokens)
    rollouts = Single(temperature=1.0, max_new_tokens=6, top_p=1.0, top_k=0, stop=[], sampler=sampler, tokens=tokens)
    shared = {"tasks_per_step": 4, "mini_batches": 2, "average": "token", "length": None}
    if kind == "sft":
        algorithm = SFT(
            which="first", without_trace="stop", min_reward=None, max_length=64, packing=None, tokens=tokens,
            reward=reward, **shared,
        )  # fmt: skip
    else:
        options = {**POLICY, **(STEERED if kind in ("steered", "replay") else {})}
        guidance = _replay(policy, path, tokens) if kind == "replay" else Unguided()
        live = {"policy": policy, "rollouts": rollouts, "reward": reward, "guidance": guidance}
        algorithm = PolicyOptimization(**shared, **options, **live, loss=token_loss())
    evaluation = Evaluation(
        split="heldout", by=None, every=evaluate, tasks=5, sample=True, samples=2, temperature=1.0, k=[1, 2], perplexity=True, rows=4,
        splits=Splits((), TASKS, ()), tokens=tokens, reward=reward, context=256,
    )  # fmt: skip
    return {
        "policy": policy, "algorithm": algorithm, "rollouts": rollouts, "sampler": sampler, "evaluation": evaluation
    }  # fmt: skip


def _replay(policy, path, tokens):
    replay = Replay(
        **REPLAY, tokens=tokens, longest=6, temperature=1.0, group_size=POLICY["group_size"], architecture={}
    )
    replay.shards.full = 24
    replay.begin(policy=policy, folder=path / "guidance")
    return replay


def _timeless(row):
    return {name: value for name, value in row.items() if not name.startswith(("time/", "speed/"))}


def outcome(folder: Path) -> dict:
    """Everything that two runs must agree on to the bit."""
    newest = shelf.listed(folder / "checkpoints")[0]
    loaded = FolderCheckpointIO("run").load_checkpoint(newest)
    loaded["progress"].pop("seconds")
    samples = folder / "samples.jsonl"
    return {
        "checkpoint": newest.name,
        "state": _bytes(loaded),
        "rows": [json.dumps(_timeless(row)) for row in read(folder / "metrics.csv")],
        "samples": samples.read_bytes() if samples.exists() else b"",
        "kept": sorted(path.name for path in shelf.listed(folder / "checkpoints")),
        "guidance": {path.name: path.read_bytes() for path in sorted((folder / "guidance").glob("*"))},
    }


def _bytes(value):
    if isinstance(value, torch.Tensor):
        return value.dtype, value.shape, value.numpy().tobytes()
    if isinstance(value, dict):
        return {name: _bytes(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_bytes(one) for one in value]
    return value
