"""Looks at each step for the symptoms of known failures, and tells of each once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule
from lightning.pytorch import Trainer as Lightning

from llmft.distributed import rank
from llmft.trainer.health import Health
from llmft.trainer.run import RunFolder
from llmft.trainer.symptoms import SYMPTOMS, Seen

log = logging.getLogger(__name__)


class CheckUp(Callback):
    """Keeps ``run.health``: for each symptom that showed, the step of the first time, in how many steps, and the text.

    Responses are those of the first rank; metrics are everybody's.
    """

    def __init__(self, thresholds: Health, run: RunFolder) -> None:
        self.thresholds, self.run = thresholds, run
        self.seen = Seen(thresholds.window)

    def on_train_batch_end(self, trainer: Lightning, pl_module: LightningModule, *_: Any) -> None:
        learner: Any = pl_module
        self.seen.add(learner.row, learner.rollouts)
        # A reward without weights counts each of its parts.
        weights = getattr(getattr(learner.algorithm, "reward", None), "weights", {})
        for name, symptom in SYMPTOMS.items():
            if text := symptom(self.seen, self.thresholds, weights):
                self._note(name, learner.steps_done, text)

    def on_exception(self, trainer: Lightning, pl_module: LightningModule, exception: BaseException) -> None:
        learner: Any = pl_module
        if learner.owed is not None:  # the step's row comes again when the run is continued, its responses do not
            self.seen.add({}, learner.rollouts)

    def _note(self, name: str, step: int, text: str) -> None:
        for note in self.run.health:
            if note["name"] == name:
                note["steps"] += 1
                return
        self.run.health.append({"name": name, "step": step, "steps": 1, "text": text})
        if rank() == 0:
            log.warning("health: step %d: %s", step, text)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen.state_dict(), "notes": [dict(note) for note in self.run.health]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.seen.load_state_dict(state_dict["seen"])
        self.run.health = [dict(note) for note in state_dict["notes"]]
