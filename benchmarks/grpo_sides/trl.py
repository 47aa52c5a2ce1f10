"""TRL's side: GRPOTrainer with what our config says, and with whatever makes it faster."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from grpo_sides import AfterStep, Run, config, nothing
from llmft.config import build, part
from llmft.dataset.stream import TaskStream
from llmft.seeds import Seeds
from llmft.types import Author, Rollout, Task

disable_progress_bars()


def arguments(cfg: Any, steps: int, **changed: Any) -> dict[str, Any]:
    """What GRPOConfig is told. All rows make one optimizer step, in passes of ``per_device_train_batch_size``."""
    rows = cfg.algorithm.tasks_per_step * cfg.algorithm.group_size
    given = {
        "max_steps": steps,
        "num_generations": cfg.algorithm.group_size,
        "per_device_train_batch_size": rows,
        "max_completion_length": cfg.rollout.max_new_tokens,
        "temperature": cfg.rollout.temperature,
        "top_p": cfg.rollout.top_p,
        "top_k": cfg.rollout.top_k,
        "beta": cfg.algorithm.kl_coef,
        "num_iterations": cfg.algorithm.epochs,
        "epsilon": cfg.algorithm.clip_low,
        "loss_type": "grpo",
        "scale_rewards": "group",
        "max_grad_norm": cfg.trainer.max_grad_norm,
        "gradient_checkpointing": False,  # on by default, and costs a forward pass
        "use_cpu": True,
        "bf16": False,
        "shuffle_dataset": False,  # the tasks come in our order
        "seed": cfg.seed,
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        **changed,
    }
    return {**given, "gradient_accumulation_steps": rows // given["per_device_train_batch_size"]}


def run(tier: str, seed: int, steps: int, after_step: AfterStep = nothing, **changed: Any) -> Run:
    """A run of ``steps`` steps, or fewer if ``after_step`` has enough. ``changed`` are arguments of GRPOConfig."""
    cfg = config(tier, seed)
    source, seeds, schedule = part(cfg.model)(), Seeds(cfg.seed), build(cfg.schedule)
    tokens, splits = source.tokens(), part(cfg.dataset)().load()
    tasks = [
        one.task for one in TaskStream(splits.train, seeds.child("tasks")).take(steps * cfg.algorithm.tasks_per_step)
    ]
    # The template is applied here, once for each task: TRL would apply it to each of the rows in every step.
    prompts = [tokens.tokenizer.decode(tokens.prompt(task.messages)) for task in tasks]
    model = source.load(quantization=None, adapter=None, seeds=seeds).model
    optimizer = part(cfg.optimizer)(model.parameters())
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule.factor(step, steps))
    reward = Reward(build(cfg.reward), tokens.eos_id, cfg.algorithm.group_size, {task.id: task for task in tasks})
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        trainer = GRPOTrainer(
            model=model,
            args=GRPOConfig(output_dir=folder, **arguments(cfg, steps, **changed)),
            train_dataset=Dataset.from_dict({"prompt": prompts, "task": [task.id for task in tasks]}),
            processing_class=tokens.tokenizer,
            reward_funcs=reward,
            optimizers=(optimizer, scheduler),
        )
        clock = Clock(trainer, reward, after_step)
        trainer.add_callback(clock)
        trainer.train()
    return clock.run


@dataclass
class Reward:
    """Our reward as one of TRL's reward functions; it also keeps what it sees of the newest step."""

    reward: Any
    eos_id: int
    group_size: int
    tasks: dict[str, Task]
    no_signal: float = 0.0
    length: float = 0.0
    __name__ = "exact"

    def __call__(self, completions: Any, completion_ids: Any, task: Any, **_: Any) -> list[float]:
        answers = zip(task, completions, completion_ids, strict=True)
        scores = self.reward.score([self._rollout(self.tasks[name], text, ids) for name, text, ids in answers])
        values = [score.value for score in scores]
        groups = [values[start : start + self.group_size] for start in range(0, len(values), self.group_size)]
        self.no_signal = sum(len(set(group)) == 1 for group in groups) / len(groups)
        self.length = sum(map(len, completion_ids)) / len(completion_ids)
        return values

    def _rollout(self, task: Task, text: str, ids: Sequence[int]) -> Rollout:
        finish = "end" if ids[-1] == self.eos_id else "length"
        return Rollout(task, (), tuple(ids), (), (Author.POLICY,) * len(ids), "policy", text, finish)


class Clock(TrainerCallback):
    """Stamps the end of every step, and the seconds of the methods that a step consists of."""

    def __init__(self, trainer: Any, reward: Reward, after_step: AfterStep) -> None:
        self.run, self.reward, self.after_step = Run(), reward, after_step
        self.spent: dict[str, float] = {}
        self.last = self.began = 0.0
        for name in ("_generate_single_turn", "_calculate_rewards", "_prepare_inputs"):
            setattr(trainer, name, self._timed(name, getattr(trainer, name)))

    def _timed(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            result = method(*args, **kwargs)
            self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - began
            return result

        return timed

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.last = time.perf_counter()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
        now, prepared = time.perf_counter(), self.spent["_prepare_inputs"]
        generate, reward = self.spent["_generate_single_turn"], self.spent["_calculate_rewards"]
        batch, update = prepared - generate - reward, now - self.began - prepared
        phases = {"generate": generate, "reward": reward, "batch": batch, "update": update, "sync": 0.0}
        self.run.add(now - self.last, phases, self.reward.no_signal, self.reward.length)
        self.spent.clear()
        if self.after_step(state.global_step, model):
            control.should_training_stop = True
        self.last = time.perf_counter()
