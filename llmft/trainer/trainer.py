"""The configured trainer: Lightning, set up so that nothing happens behind the run folder's back."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt
from torch import nn

from llmft import durable
from llmft.config import Why
from llmft.distributed import rank, world_size
from llmft.protocols import Algorithm, Rollouts, Sampler, Tasks, Tokens
from llmft.seeds import Seeds
from llmft.trainer.evaluation import Evaluation
from llmft.trainer.nonfinite import NonFinite, OnNonFinite
from llmft.trainer.run import RunFolder

SKIP = Why("each update would be left out; use more than 0, for instance 500, or null for no bound")


class Trainer:
    """Trains a policy by an algorithm into a run folder.

    Args:
        accelerator: ``cpu``, ``gpu``, or ``auto`` for the best there is.
        devices: how many, one process each.
        strategy: ``ddp`` for several devices, ``auto`` for one.
        precision: ``32-true`` computes in the weights' own type; ``bf16-mixed`` casts the matrix products.
        threads: CPU threads of each process; None leaves torch's choice.
        max_steps: steps of the run; a step is one batch of tasks, whether or not it gave signal.
        micro_batch: rows of one forward and backward pass.
        max_grad_norm: longer gradients are scaled down to it; None leaves them.
        skip_grad_norm: an update whose gradient is longer is left out, and counted; None makes each.
        on_nonfinite: ``stop`` before an update whose loss or gradient is not finite; ``skip`` it.
        max_nonfinite: updates that may be skipped in the whole run.
        log_every: steps between two rows of ``metrics.csv``; evaluated steps always have one.
        samples_every: steps between two entries of ``samples.jsonl``.
        samples_per_step: rollouts of an entry.
        checkpoint_every: steps between two checkpoints; the last step, and a new best, always have one.
        keep_checkpoints: how many of the newest stay; the best stays besides.
    """

    def __init__(
        self,
        *,
        accelerator: Literal["cpu", "gpu", "auto"],
        devices: Annotated[int, Ge(1)],
        strategy: Literal["auto", "ddp"],
        precision: Literal["32-true", "bf16-mixed"],
        threads: Annotated[int, Ge(1)] | None,
        max_steps: Annotated[int, Ge(1)],
        micro_batch: Annotated[int, Ge(1)],
        max_grad_norm: Annotated[float, Gt(0)] | None,
        skip_grad_norm: Annotated[float, Gt(0), SKIP] | None,
        on_nonfinite: OnNonFinite,
        max_nonfinite: Annotated[int, Ge(1)],
        log_every: Annotated[int, Ge(1)],
        samples_every: Annotated[int, Ge(1)],
        samples_per_step: Annotated[int, Ge(1)],
        checkpoint_every: Annotated[int, Ge(1)],
        keep_checkpoints: Annotated[int, Ge(1)],
        policy: nn.Module,
        tokens: Tokens | None,
        tasks: Tasks,
        algorithm: Algorithm,
        rollouts: Rollouts | None,
        evaluation: Evaluation | None,
        sampler: Sampler | None,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        schedule: Any,
        seeds: Seeds,
        run: RunFolder,
        callbacks: Mapping[str, Any],
        loggers: Mapping[str, Any],
    ) -> None:
        self.devices, self.strategy, self.threads = devices, strategy, threads
        self.hardware: dict[str, Any] = {"accelerator": accelerator, "devices": devices, "precision": precision}
        self.update: dict[str, Any] = {
            "max_steps": max_steps, "micro_batch": micro_batch, "max_grad_norm": max_grad_norm
        }  # fmt: skip
        self.nonfinite = NonFinite(on=on_nonfinite, most=max_nonfinite, longest=skip_grad_norm)
        self.log_every = log_every
        self.samples: dict[str, Any] = {"samples_every": samples_every, "samples_per_step": samples_per_step}
        self.checkpoints: dict[str, Any] = {"every": checkpoint_every, "keep": keep_checkpoints}
        self.policy, self.tokens, self.tasks, self.algorithm = policy, tokens, tasks, algorithm
        self.rollouts, self.evaluation, self.sampler = rollouts, evaluation, sampler
        self.optimizer, self.schedule, self.seeds, self.run = optimizer, schedule, seeds, run
        self.callbacks, self.loggers = callbacks, loggers

    def fit(self) -> None:
        """Train to the last step and finish the run folder. Continues where ``run.resume_from`` says.

        Raises:
            Stop: interrupted, or a loss that is not finite.
        """
        from rich.console import Console

        from llmft.trainer.learner import Learner
        from llmft.trainer.signals import Signals, endings

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        learner = Learner(
            policy=self.policy,
            algorithm=self.algorithm,
            tasks=self.tasks,
            optimizer=self.optimizer,
            schedule=self.schedule,
            sampler=self.sampler,
            seeds=self.seeds,
            nonfinite=self.nonfinite,
            signals=Signals(),
            **self.update,
        )
        console = Console()
        with _quiet(), endings(self.run.path, learner):
            lightning = self._lightning(learner, console)
            learner.train()
            resume = self.run.resume_from
            lightning.fit(learner, ckpt_path=str(resume) if resume else None, weights_only=True)
        self._finish(learner, console)

    def _lightning(self, learner: Any, console: Any) -> Any:
        from lightning.fabric.plugins.environments.lightning import LightningEnvironment
        from lightning.pytorch import Trainer as Lightning
        from lightning.pytorch.strategies import DDPStrategy

        from llmft.trainer.callbacks import Evaluate, Listen, Record, Sample, Save
        from llmft.trainer.checkpoint import FolderCheckpointIO
        from llmft.trainer.progress import ShowProgress

        ours: list[Any] = [Listen(learner.signals), Sample(self.run, **self.samples)]
        if self.evaluation is not None and self.rollouts is not None:
            ours.append(Evaluate(self.evaluation, self.rollouts))
        ours += [Record(self.run, log_every=self.log_every), ShowProgress(console)]
        # A user's callbacks see a step that is written, and a checkpoint has what they keep of it.
        ours += [*self._opened_callbacks(), Save(self.run, **self.checkpoints)]
        backend = "nccl" if self._on_cuda() else "gloo"
        return Lightning(
            **self.hardware,
            strategy=DDPStrategy(process_group_backend=backend) if world_size() > 1 else "auto",
            plugins=[FolderCheckpointIO(self.run.identity), LightningEnvironment()],
            max_epochs=1,
            callbacks=ours,
            logger=self._opened_loggers(),
            # The run folder has its own of each of these.
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            log_every_n_steps=1,
            default_root_dir=str(self.run.path),
        )

    def _opened_callbacks(self) -> list[Any]:
        """The callbacks of the config; those that are ours are told the run."""
        return [one.open(self.run) if hasattr(one, "open") else one for one in self.callbacks.values()]

    def _opened_loggers(self) -> list[Any]:
        """The loggers, each told the config."""
        from omegaconf import OmegaConf

        opened = [logger.open(self.run) for logger in self.loggers.values()]
        for logger in opened:
            # Unresolved: what is still an interpolation came from the environment, and may be a secret.
            logger.log_hyperparams(OmegaConf.to_container(OmegaConf.load(self.run.config_path)))
        return opened

    def _on_cuda(self) -> bool:
        return self.hardware["accelerator"] != "cpu" and torch.cuda.is_available()

    def _finish(self, learner: Any, console: Any) -> None:
        """Write what a finished run has besides: the model, the picture, the summary."""
        if rank() != 0:
            return
        from llmft.trainer.curves import draw
        from llmft.trainer.report import print_report

        with durable.new_folder(self.run.path / "final", seal=None) as folder, _no_bars():
            for owner in (self.policy, self.tokens):
                if save := getattr(owner, "save", None):
                    save(folder)
        draw(self.run.metrics.rows, self.run.path / "curves.png", self.run.path.name)
        self.run.summarize("completed", seconds=learner.seconds, peak_memory_bytes=peak_memory())
        print_report(console, self.run, learner.seconds)


def peak_memory() -> int:
    """Bytes that this process needed at most: of the GPU where one was used, else of the machine."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def _no_bars() -> Iterator[None]:
    """Without the progress bar that transformers draws when it writes."""
    transformers = sys.modules.get("transformers")
    if transformers is None:
        yield
        return
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning without its banners: what they say is in the run folder, or is not so here."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
