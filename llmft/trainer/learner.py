"""The LightningModule that drives any algorithm and knows none.

A step is one batch of tasks: collect, then its optimizer updates. The learner counts steps itself, since Lightning
counts optimizer steps and a batch without signal makes none; logging, evaluation, checkpoints and the learning rate go
by this counter. Lightning is given one epoch whose "batches" are the step numbers that are left.

A step draws from streams named by the seed and its own number, and from nothing else: whatever came before it, in this
process or in the one that was killed, leaves no trace but the weights and the states that a checkpoint holds.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import Any, Protocol

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from llmft.algorithm.metrics import Stopwatch
from llmft.distributed import all_max, rank, sum_dicts, world_size
from llmft.protocols import Algorithm, Sampler, Tasks
from llmft.seeds import Seeds
from llmft.trainer.nonfinite import NonFinite
from llmft.trainer.signals import Dropped, Signals
from llmft.types import Rollout, Step, Trainable


class Schedule(Protocol):
    def factor(self, step: int, max_steps: int) -> float: ...


class Learner(LightningModule):
    """Trains ``policy`` on what ``algorithm`` collects from ``tasks``.

    Args:
        optimizer: makes the optimizer from the parameters to train.
        schedule: multiplies the optimizer's own learning rate in each step.
        sampler: told of new weights after each step; None where nothing is sampled.
        micro_batch: rows of one forward and backward pass; does not change the gradient.
        max_grad_norm: longer gradients are scaled down to it; None leaves them.
        nonfinite: what becomes of an update whose loss or gradient is not finite, or whose gradient is too long.
        signals: drops the collecting of a step for a signal.
    """

    def __init__(
        self,
        *,
        policy: nn.Module,
        algorithm: Algorithm,
        tasks: Tasks,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        schedule: Schedule,
        sampler: Sampler | None,
        seeds: Seeds,
        max_steps: int,
        micro_batch: int,
        max_grad_norm: float | None,
        nonfinite: NonFinite,
        signals: Signals,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.strict_loading = False  # frozen weights are not in a checkpoint; `_require_trained` checks the others
        self.policy = policy
        self.extra = nn.ModuleDict(dict(algorithm.extra_modules()))
        self.algorithm = algorithm
        self.tasks = tasks
        self.make_optimizer = optimizer
        self.schedule = schedule
        self.sampler = sampler
        self.seeds = seeds
        self.max_steps = max_steps
        self.micro_batch = micro_batch
        self.max_grad_norm = max_grad_norm
        self.nonfinite = nonfinite
        self.signals = signals

        self.steps_done = 0
        self.updates_done = 0
        self.step_seeds = seeds  # of the step that runs
        self.seconds: dict[str, float] = {}  # of each phase, over the whole run
        self.row: dict[str, float] = {}  # the metrics of the step that is being finished
        self.rollouts: Sequence[Rollout] = ()  # what it trained on
        self.owed: dict[str, float] | None = None  # the row of the newest step, if its evaluation was dropped
        self.watch = Stopwatch()  # the phases of an update, for a profiler

    # ------------------------------------------------------------------ what Lightning asks for

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        if not trained:
            raise ValueError("model: no weight of it is trained; use an adapter, or unfreeze some of them")
        optimizer = self.make_optimizer(trained)
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        return optimizer

    def train_dataloader(self) -> Sequence[int]:
        return range(self.steps_done - (self.owed is not None), self.max_steps)

    def on_train_start(self) -> None:
        self.sync()
        # Callbacks that log by themselves, such as LearningRateMonitor, take their step from here.
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = self.steps_done

    def training_step(self, batch: int, batch_idx: int) -> None:
        """One step: collect, update, tell the sampler. One whose evaluation is owed was made before."""
        if self.owed is not None:
            self.row, self.owed = self.owed, None
            return
        assert int(batch) == self.steps_done, "Lightning's count of batches has left ours"
        began = perf_counter()
        step = self._collect()
        self.rollouts = step.rollouts

        collected = perf_counter()
        metrics = self.update_all(step.updates)
        updated = perf_counter()
        with self.watch("sync"):
            self.sync()
        done = perf_counter()

        times = {"time/update_s": updated - collected, "time/sync_s": done - updated, "time/step_s": done - began}
        self.row = {**step.metrics, **metrics, **times}
        for name, value in self.row.items():
            if name.startswith("time/"):
                self.seconds[name] = self.seconds.get(name, 0.0) + value
        self.steps_done += 1

    def _collect(self) -> Step:
        """What the next step trains on. A signal drops it, and the places in the data are those of before."""
        before = self.tasks.state_dict(), self.algorithm.state_dict()  # which nothing changes later
        seeds = self.step_seeds = self.seeds.child("step", self.steps_done)
        # Ranks share the streams of the data; dropout should differ between them.
        (seeds.child("rank", rank()) if rank() else seeds).seed_everything()
        self.policy.eval()
        try:
            with self.signals.droppable(), torch.no_grad():
                return self.algorithm.collect(self.tasks, seeds)
        except Dropped:
            self.tasks.load_state_dict(before[0])
            self.algorithm.load_state_dict(before[1])
            raise

    # ------------------------------------------------------------------ updates

    def sync(self) -> None:
        """Have the sampler use the weights of now."""
        if self.sampler is not None:
            self.sampler.sync(self.policy, self.updates_done)  # type: ignore[arg-type]

    def update_all(self, updates: Sequence[Trainable]) -> dict[str, float]:
        """The optimizer steps of one step; their metrics, averaged over those that were made."""
        self.policy.train()
        made, before = [], self.nonfinite.counts()
        for index in range(all_max(len(updates))):
            metrics = self.update(updates[index] if index < len(updates) else None)
            if metrics is not None:
                made.append(metrics)
        of_each = {name: [one[name] for one in made if name in one] for metrics in made for name in metrics}
        counted = {name: count - before[name] for name, count in self.nonfinite.counts().items()}
        return {**{name: _mean(values) for name, values in of_each.items()}, **counted}

    def update(self, data: Trainable | None) -> dict[str, float] | None:
        """One optimizer step on ``data``, whose gradient depends on neither the micro-batch nor the number of ranks.

        Returns:
            Metrics, summed over the parts of the data and over the ranks; None, and no step, if no rank has data.

        Raises:
            Stop: before the optimizer's step, if the loss or the gradient's norm is not finite and may not be skipped.
        """
        parts = list(data.split(self.micro_batch)) if data is not None else []
        passes = all_max(len(parts))
        if passes == 0:
            return None
        optimizer: Any = self.optimizers()
        optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor | float] = defaultdict(float)
        for index in range(passes):
            with self._own_gradient() if index < passes - 1 else nullcontext():
                with self.watch("forward"):
                    loss, metrics = self._pass(parts[index].to(self.device) if index < len(parts) else None)
                with self.watch("backward"):
                    self.manual_backward(loss * world_size())  # DDP averages over the ranks; the weights already have
            for name, value in {"loss": loss, **metrics}.items():
                sums[name] = sums[name] + value.detach().double()
        totals = sum_dicts({name: float(value) for name, value in sums.items()})
        loss_of_all = totals.pop("loss")
        with self.watch("optimizer"):
            norm = self._clip(optimizer)
            self.row = {"train/loss": loss_of_all, "train/grad_norm": norm}  # should these stop the run
            seen = {"step": self.steps_done + 1, "seeds": self.step_seeds, "rollouts": self.rollouts}
            if self.nonfinite.refuses(loss_of_all, norm, **seen):
                return self.row
            rate = self._step(optimizer)
        return {**self.algorithm.report(totals), **self.row, "train/lr": rate}

    def _pass(self, part: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of a part. Without one, a loss of 0 that reaches every parameter, so that ranks stay in step."""
        if part is not None:
            return self.algorithm.loss(self.policy, part)  # type: ignore[arg-type]
        trained = (parameter for parameter in self.parameters() if parameter.requires_grad)
        return torch.stack([parameter.sum() * 0.0 for parameter in trained]).sum(), {}

    def _own_gradient(self) -> AbstractContextManager[None]:
        """No exchange of gradients between ranks until the last pass."""
        block = getattr(self.trainer.strategy, "block_backward_sync", nullcontext)
        return block()

    def _clip(self, optimizer: Any) -> float:
        """The norm of the whole gradient, which is then scaled down to the bound."""
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        bound = math.inf if self.max_grad_norm is None else self.max_grad_norm
        return float(nn.utils.clip_grad_norm_(trained, bound))

    def _step(self, optimizer: Any) -> float:
        """The optimizer's step, at the step's own learning rate, which is returned."""
        factor = self.schedule.factor(self.steps_done, self.max_steps)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        optimizer.step()
        self.updates_done += 1
        return optimizer.param_groups[0]["lr"]

    # ------------------------------------------------------------------ checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.pop("loops", None)  # the position in the run is ours
        checkpoint["global_step"] = self.steps_done  # Lightning's counts from where this process began
        frozen = self._frozen()
        checkpoint["state_dict"] = {
            name: tensor for name, tensor in checkpoint["state_dict"].items() if name not in frozen
        }
        checkpoint["progress"] = {
            "steps_done": self.steps_done,
            "updates_done": self.updates_done,
            "skipped": self.nonfinite.skipped,
            "owed": self.owed,
            "seconds": dict(self.seconds),
        }
        checkpoint["tasks"] = self.tasks.state_dict()
        checkpoint["algorithm"] = self.algorithm.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        missing = set(self.state_dict()) - set(checkpoint["state_dict"]) - self._frozen()
        unknown = set(checkpoint["state_dict"]) - set(self.state_dict())
        if missing or unknown:
            raise RuntimeError(f"ckpt_path: made for another model: {min(missing | unknown)} is only in one of the two")
        progress = checkpoint["progress"]
        self.steps_done, self.updates_done = progress["steps_done"], progress["updates_done"]
        self.nonfinite.skipped, self.owed = progress["skipped"], progress["owed"]
        self.seconds = dict(progress["seconds"])
        self.tasks.load_state_dict(checkpoint["tasks"])
        self.algorithm.load_state_dict(checkpoint["algorithm"])

    def _frozen(self) -> set[str]:
        named = self.named_parameters(remove_duplicate=False)
        return {name for name, parameter in named if not parameter.requires_grad}


def _mean(values: Sequence[float]) -> float:
    """The mean, of infinities too, whose exact sum Python refuses to take."""
    exact = math.fsum if all(map(math.isfinite, values)) else sum
    return exact(values) / len(values)
