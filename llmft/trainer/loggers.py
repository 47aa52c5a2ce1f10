"""Loggers beside the run's own `metrics.csv`. Lightning's take ``**kwargs``; a config names one of these instead.

Each is opened once the run has a folder. A continued run goes on with the logs that it has.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


class TensorBoard:
    """Event files for TensorBoard, in the run's folder."""

    def __init__(self, *, folder_name: str) -> None:
        self.folder_name = folder_name

    def open(self, folder: Path) -> Logger:
        """The logger of the run in ``folder``."""
        from lightning.pytorch.loggers import TensorBoardLogger

        return TensorBoardLogger(save_dir=folder, name="", version=Path(self.folder_name).name)


class WandB:
    """Weights & Biases. Offline it writes into the run's folder, and `wandb sync` sends it later."""

    def __init__(self, *, project: str, entity: str | None, group: str | None, tags: list[str], offline: bool) -> None:
        self.project = project
        self.entity = entity
        self.group = group
        self.tags = tags
        self.offline = offline

    def open(self, folder: Path) -> Logger:
        """The logger of the run in ``folder``; the same folder is the same W&B run."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when wandb is imported: it would call home
        from lightning.pytorch.loggers import WandbLogger

        return WandbLogger(
            name=folder.name,
            save_dir=folder,
            id=hashlib.blake2b(str(folder.resolve()).encode(), digest_size=6).hexdigest(),
            resume="allow",
            project=self.project,
            entity=self.entity,
            group=self.group,
            tags=self.tags,
            offline=self.offline,
        )
