"""Lives of a run: processes that train, and end by a signal at a moment that nobody chose for them.

python tests/lives.py kills FOLDER MODEL sft 20       # SIGKILLs at random moments, a fifth of them inside a save
python tests/lives.py signals FOLDER MODEL grpo       # SIGTERM in each phase, made long: seconds until the process ends

Each prints JSON. A life is forked from this process once it has imported everything, so it costs no more than what it
trains; this process computes nothing, so there is nothing but code that its children share.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from small_runs import KINDS, SMALL, timeless, weights

from llmft import durable
from llmft.config import ROOT, Stop, check, compose, settings, snapshot
from llmft.trainer import shelf
from llmft.trainer.start import Start

OFTEN = ["evaluation.every=4", "trainer.checkpoint_every=2"]
STEPS = {"kills": 40, "signals": 12}


def train_module():
    spec = importlib.util.spec_from_file_location("train", ROOT / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def import_everything() -> None:
    import transformers.models.llama.modeling_llama  # noqa: F401

    import llmft.dataset.stream
    import llmft.model.hf
    import llmft.trainer.callbacks
    import llmft.trainer.curves
    import llmft.trainer.learner
    import llmft.trainer.opening
    import llmft.trainer.preflight

    llmft.trainer.curves.draw = lambda *_: None  # a picture would take longer than the run


class Lives:
    """The lives of runs of one kind: of a run that nobody disturbs, and of others in folders beside it."""

    def __init__(self, place: Path, model: str, kind: str, steps: int) -> None:
        self.place, self.kind = place, kind
        self.asked = [*SMALL, f"model.path={model}", *KINDS[kind], *OFTEN, f"trainer.max_steps={steps}"]
        self.train = train_module()
        self.whole = place / "whole"
        began = time.monotonic()
        assert self.ended(self.begin(self.whole)) == 0, "the run that nobody disturbs failed; see its log"
        self.seconds = time.monotonic() - began

    def begin(self, folder: Path, before: Callable[[], None] = lambda: None) -> int:
        """A process that begins the run of ``folder``, or continues it; ``before`` is what it does first."""
        again = [f"ckpt_path={folder}"] if (folder / "manifest.json").exists() else []
        life = os.fork()
        if life:
            return life
        code = 1
        try:
            log = os.open(self.place / f"{folder.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1), os.dup2(log, 2)
            before()
            asked = [*self.asked, *again]
            cfg = compose(asked)
            check(cfg)
            folder.mkdir(exist_ok=True)
            self.train.fit(cfg, Start(folder, snapshot(cfg), settings(cfg), tuple(asked), {"model": "hf"}, None))
            code = 0
        except Stop as stop:
            print(stop, flush=True)
            code = stop.code
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def ended(self, life: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(life, 0)[1])

    def is_as_if_undisturbed(self, folder: Path) -> bool:
        """Does a finished run agree with the undisturbed one in every bit of weights, metrics and samples?"""
        samples = [(one / "samples.jsonl").read_bytes() for one in (folder, self.whole)]
        rows = [json.dumps(timeless(one)) for one in (folder, self.whole)]
        return weights(folder) == weights(self.whole) and rows[0] == rows[1] and samples[0] == samples[1]


def kills(lives: Lives, count: int) -> dict[str, int]:
    """What ``count`` SIGKILLs did. A run that ends before them gives way to a new one."""
    rng, told = random.Random(lives.kind), dict.fromkeys(("kills", "in_save", "in_start", "lost", "runs", "unequal"), 0)
    while told["kills"] < count:
        told["runs"] += 1
        folder = lives.place / f"run{told['runs']}"
        acknowledged, code = 0, -signal.SIGKILL
        while code == -signal.SIGKILL:
            known = continuations(folder)
            life = lives.begin(folder)
            if told["kills"] < count:
                wait_in(folder, life, into_a_save=told["kills"] % 5 == 4, seconds=rng.uniform(0, lives.seconds / 3))
                os.kill(life, signal.SIGKILL)  # no harm where it has ended: it is not waited for yet
            code = lives.ended(life)
            assert code in (0, -signal.SIGKILL), f"exit code {code}; see {folder.name}.log"
            now = continuations(folder)
            told["lost"] += len(now) > len(known) and now[-1]["from_step"] < acknowledged
            if code == 0:
                break
            told["kills"] += 1
            told["in_start"] += not (folder / "manifest.json").exists() or len(now) == len(known) > 0
            found = shelf.listed(folder / "checkpoints")
            told["in_save"] += any((folder / "checkpoints").glob(".tmp-*"))
            told["lost"] += sum(durable.fault(one) is not None for one in found)
            acknowledged = shelf.step_of(found[0]) if found else 0
        told["unequal"] += not lives.is_as_if_undisturbed(folder)
    return told


def continuations(folder: Path) -> list[dict[str, int]]:
    file = folder / "manifest.json"
    return json.loads(file.read_text()).get("resumed", []) if file.exists() else []


def wait_in(folder: Path, life: int, *, into_a_save: bool, seconds: float) -> None:
    """For some seconds; then, if asked for, until a checkpoint is being written or the process has ended."""
    time.sleep(seconds)
    while into_a_save and not any((folder / "checkpoints").glob(".tmp-step*")):
        if os.waitid(os.P_PID, life, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return


PHASES = {  # what is called in the phase, the how-manieth time, and for how many seconds it then goes on
    "start-up": ("llmft.model.hf", "HF", "load", 1, 60),
    "generation": ("llmft.sampler.native", "Native", "generate", 6, 60),
    "reward": ("llmft.reward.weighted", "Weighted", "score", 6, 60),
    "forward and backward": ("llmft.algorithm.policy", "PolicyOptimization", "loss", 6, 1),
    "evaluation": ("llmft.trainer.evaluation", "Evaluation", "_metrics", 2, 60),
    "save": ("llmft.trainer.checkpoint", "FolderCheckpointIO", "save_checkpoint", 2, 1),
    "save, twice": ("llmft.trainer.checkpoint", "FolderCheckpointIO", "save_checkpoint", 2, 60),
}


def signals(lives: Lives) -> dict[str, dict[str, object]]:
    """For each phase: seconds from SIGTERM to the end, exit code, and whether the run ended well later."""
    return {phase: signalled(lives, phase, lives.place / f"run{place}") for place, phase in enumerate(PHASES)}


def signalled(lives: Lives, phase: str, folder: Path) -> dict[str, object]:
    hears, says = os.pipe()
    life = lives.begin(folder, lambda: make_long(phase, says))
    os.close(says)
    assert os.read(hears, 1), f"{phase}: it never came to it; see {folder.name}.log"
    began = time.monotonic()
    os.kill(life, signal.SIGTERM)
    if phase.endswith("twice"):
        time.sleep(0.2)
        os.kill(life, signal.SIGTERM)
    code, seconds = lives.ended(life), time.monotonic() - began
    found = shelf.listed(folder / "checkpoints")
    valid = all(durable.fault(one) is None for one in found) and not any((folder / "checkpoints").glob(".*"))
    ended = lives.ended(lives.begin(folder))
    return {
        "seconds": round(seconds, 2),
        "code": code,
        "step": shelf.step_of(found[0]) if found else 0,
        "valid": valid,
        "equal": ended == 0 and lives.is_as_if_undisturbed(folder),
    }


def make_long(phase: str, says: int) -> None:
    """Have this process tell when it comes to a phase, and stay in it."""
    module, owner, name, call, seconds = PHASES[phase]
    patched = getattr(importlib.import_module(module), owner)
    real, calls = getattr(patched, name), []

    def method(*arguments, **named):
        calls.append(name)
        if len(calls) == call:
            os.write(says, b"x")
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:  # in pieces, as a long computation is
                time.sleep(0.01)
        return real(*arguments, **named)

    setattr(patched, name, method)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kills", "signals"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("model")
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("count", type=int, nargs="?", default=20)
    given = parser.parse_args()
    import_everything()
    given.folder.mkdir(parents=True, exist_ok=True)
    lives = Lives(given.folder, given.model, given.kind, STEPS[given.what])
    print(json.dumps(kills(lives, given.count) if given.what == "kills" else signals(lives)))
