"""Loggers beside the run's own `metrics.csv`. Lightning's take ``**kwargs``; a config names one of these instead.

Each is opened once the run has a folder, and has what `metrics.csv` has: the same names, the same steps. A continued
run goes on with the logs that it has, without the steps that it makes again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmft.distributed import rank
from llmft.trainer import shelf

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from llmft.trainer.run import RunFolder

log = logging.getLogger(__name__)

ANSWER_S = 5.0  # that W&B's server has to answer at all
INIT_S = 20.0  # that it has to take a run


class TensorBoard:
    """Event files for TensorBoard, in the run's folder."""

    def __init__(self, *, folder_name: str) -> None:
        self.folder_name = folder_name

    def open(self, run: RunFolder) -> Logger:
        """The logger of ``run``; TensorBoard forgets the steps past the one that a run continues from."""
        from llmft.trainer.log_writers import EventFiles

        done = shelf.step_of(run.resume_from) if run.resume_from else -1
        version = Path(self.folder_name).name
        return EventFiles(run.objective, save_dir=run.path, name="", version=version, purge_step=done + 1)


class WandB:
    """Weights & Biases. Offline it writes into the run's folder, and `wandb sync` sends it later.

    Without a network or without a key it goes offline, says so, and the run goes on.
    """

    def __init__(self, *, project: str, entity: str | None, group: str | None, tags: list[str], offline: bool) -> None:
        self.project = project
        self.entity = entity
        self.group = group
        self.tags = tags
        self.offline = offline

    def open(self, run: RunFolder) -> Logger:
        """The logger of ``run``; the same folder is the same W&B run.

        W&B cannot add to a run that is offline: continued, it gets a new folder with all its rows, and the newest
        one, ``wandb/latest-run``, is the whole run.
        """
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when wandb is imported: it would call home
        from lightning.pytorch.loggers.logger import DummyLogger

        from llmft.trainer.log_writers import WandBRun

        if rank() != 0:
            return DummyLogger()
        return WandBRun(experiment=self._online(run) or self._offline(run))

    def _online(self, run: RunFolder) -> Any:
        """The run at the server; None, and a word about it, where that cannot be. Never asks at a prompt."""
        import wandb

        # Both the config and the environment must let it be online.
        if self.offline or os.environ.get("WANDB_MODE", "online") != "online":
            return None
        address = wandb.setup().settings.base_url
        try:
            if not _answers(address):
                why = "it does not answer"
            elif not wandb.login(prompt=False):
                why = "there is no API key (`wandb login` asks for it, the variable WANDB_API_KEY gives it)"
            else:
                return wandb.init(mode="online", resume="allow", **self._settings(run, silent=False))
        except Exception as error:
            why = " ".join(str(error).split("<")[0].split())[:200].rstrip(":")  # without a server's page
        wandb.teardown()  # what did not begin would hold on to the run's id
        later = f"`wandb sync {run.path}/wandb/latest-run` sends it later"
        log.warning("W&B goes offline, since %s: %s. %s", address, why, later)
        return None

    def _offline(self, run: RunFolder) -> Any:
        import wandb

        mode = "disabled" if os.environ.get("WANDB_MODE") == "disabled" else "offline"
        experiment = wandb.init(mode=mode, **self._settings(run, silent=True))
        for row in run.metrics.rows:
            experiment.log({name: value for name, value in row.items() if name != "step"}, step=int(row["step"]))
        return experiment

    def _settings(self, run: RunFolder, *, silent: bool) -> dict[str, Any]:
        import wandb

        return {
            "name": run.path.name,
            "dir": run.path,
            "id": hashlib.blake2b(str(run.path.resolve()).encode(), digest_size=6).hexdigest(),
            "project": self.project,
            "entity": self.entity,
            "group": self.group,
            "tags": self.tags,
            "settings": wandb.Settings(console="off", silent=silent, init_timeout=INIT_S),
        }


def _answers(address: str) -> bool:
    """Does a server at ``address`` say anything, through whatever proxy there is, within `ANSWER_S`?"""
    heard = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(address, timeout=ANSWER_S).close()
        except urllib.error.HTTPError:
            pass  # an answer
        except Exception:
            return
        heard.set()

    # In a thread: looking up a name obeys no timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_S)
    return heard.is_set()
