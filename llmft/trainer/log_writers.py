"""Lightning's loggers, with the run's own names, steps and end."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only


class EventFiles(TensorBoardLogger):
    """TensorBoard's files; its table of hyper-parameters shows the run's objective."""

    def __init__(self, objective: str, **settings: Any) -> None:
        super().__init__(**settings, default_hp_metric=False)
        self.objective = objective

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, metrics: dict[str, Any] | None = None, step: int | None = None
    ) -> None:
        """Write ``params``, the config. The objective's values are among the metrics."""
        from torch.utils.tensorboard.summary import hparams

        assert isinstance(params, dict)
        self.hparams.update(params)  # type: ignore[union-attr]
        writer = self.experiment._get_file_writer()
        assert writer is not None
        for summary in hparams(dict(_flat(params)), {self.objective: 0}):
            writer.add_summary(summary)


class WandBRun(WandbLogger):
    """A W&B run whose steps are the run's steps, and which ends with it."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        # A step that the server has already is not taken again: a continued run makes the same numbers.
        self.experiment.log(dict(metrics), step=step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the W&B run, so that the next run of this process is another."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys, as they are written on the command line, and values that TensorBoard can show."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value if isinstance(value, (bool, int, float, str)) else str(value)
