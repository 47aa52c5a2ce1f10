"""`-m`: the jobs of a sweep, run one after another here or each in a process of its own, and taken up again.

Jobs that are done are left alone, those that were cut off go on from their newest checkpoint, those that failed stay as
they are unless ``sweep.retry_failed`` says otherwise. All of them are composed and checked before the first one starts,
and none stops another.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from hydra.core.utils import configure_log
from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:
    from llmft.trainer.jobs import Job, Standing
    from llmft.trainer.performing import Outcome

BASIC, LOCAL = "BasicLauncher", "LocalLauncher"
POLL_S = 0.2


class Sweep(Launcher):
    """What Hydra takes for the launcher that the config names.

    Args:
        plugin: makes that launcher; asked where it is neither Hydra's own nor the one for this machine's processes.
    """

    def __init__(self, plugin: Callable[[], Launcher]) -> None:
        self.plugin = plugin
        self.jobs: list[Job] = []
        self.outcomes: dict[Path, Outcome] = {}  # of the jobs that this process started, by folder
        self.left: dict[Path, Standing] = {}  # those that it left as they are, and why
        self.code = 0  # of an interruption

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config
        self.kind = str(config.hydra.launcher._target_).rpartition(".")[2]

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[Any]:
        """Run the jobs of a batch. Raises SystemExit if their configs are refused or the sweep is interrupted."""
        from llmft.config import ConfigError, Stop
        from llmft.config.faults import REFUSED
        from llmft.trainer.jobs import plan
        from llmft.trainer.signals import at_once

        try:
            with at_once(None):
                batch = plan(self._composed, job_overrides, initial_job_idx)
                known = {job.folder for job in self.jobs}
                self.jobs += [job for job in batch if job.folder not in known]
                self._run(batch, initial_job_idx)
        except ConfigError as error:
            print(f"No job was started: {error}", file=sys.stderr, flush=True)
            raise SystemExit(REFUSED) from None
        except Stop as stop:
            self.code = stop.code
            raise SystemExit(stop.code) from None
        return [self._returned(job) for job in batch]

    def finish(self) -> int:
        """Print the table of the jobs; 0 if all of them are completed, 1 if not, or the code of an interruption."""
        from llmft.trainer.sweep import print_jobs, row_of

        if not self.jobs:
            return self.code
        rows = [row_of(job, self.outcomes.get(job.folder), self.left.get(job.folder)) for job in self.jobs]
        print_jobs(rows, str(self.jobs[0].folder.parent))
        if any(standing.what == "failed" for standing in self.left.values()):
            print("Jobs that failed are taken up again with sweep.retry_failed=true", flush=True)
        return self.code or int(any(row.status != "completed" for row in rows))

    def _composed(self, overrides: list[str]) -> Any:
        return self.context.config_loader.load_sweep_config(self.config, overrides)

    def _run(self, batch: Sequence[Job], first: int) -> None:
        from llmft.trainer.jobs import files_now
        from llmft.trainer.signals import Interrupted

        files = files_now()
        if self.kind not in (BASIC, LOCAL):
            jobs = [one for job in batch if (one := self._to_run(job, files, last=True))]
            self._hand_over(jobs, first)
            return
        workers = self._workers(batch)
        queue = deque((job, False) for job in batch)
        try:
            while queue or workers.running:
                while queue and len(workers.running) < workers.at_once:
                    job, waited = queue.popleft()
                    if found := self._to_run(job, files, last=waited):
                        self._say(job, f"{'goes on' if found.cfg.ckpt_path else 'starts'} in {workers.place(job)}")
                        workers.start(found)
                    elif job.folder not in self.left:
                        queue.append((job, True))  # another process has it, and may be done when all others are
                self._note(workers)
                time.sleep(POLL_S if workers.running else 0)
        except Interrupted:
            self._wind_down(workers)
            raise
        finally:
            workers.close()

    def _to_run(self, job: Job, files: Any, *, last: bool) -> Job | None:
        """``job`` as it is to be run, or None if it is not."""
        from llmft.trainer.jobs import shown, standing

        self.left.pop(job.folder, None)
        found = standing(job, files)
        if found.what == "new":
            return job
        if found.what == "begun" or (found.what == "failed" and job.cfg.sweep.retry_failed):
            return job.continued()
        if found.what == "running elsewhere" and not last:
            return None
        self.left[job.folder] = found
        how = "completed before" if found.what == "completed" else found.what
        self._say(job, f"{how}, in {shown(job.folder)}" + (f": {brief(found.why)}" if found.why else ""))
        return None

    def _workers(self, batch: Sequence[Job]) -> Any:
        from llmft.trainer.performing import Here
        from llmft.trainer.processes import Processes

        if self.kind == BASIC:
            return Here(self.task, lambda: configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose))
        folder = Path(self.config.hydra.sweep.dir).absolute() / ".submitit"
        return Processes(self.task, folder, batch)

    def _hand_over(self, jobs: Sequence[Job], first: int) -> None:
        """Have the configured launcher run ``jobs``: a cluster's, which this suite has no hand in."""
        from llmft.trainer.performing import outcome

        lines = [[*job.overrides, *job.lines] for job in jobs]
        ended = self.plugin().launch(lines, first) if lines else []
        for job, one in zip(jobs, ended, strict=True):
            self.outcomes[job.folder] = outcome(one)

    def _note(self, workers: Any) -> None:
        """Tell which jobs have ended."""
        from llmft.trainer.performing import INTERRUPTIONS
        from llmft.trainer.signals import Interrupted

        for job, ended in workers.ended():
            self.outcomes[job.folder] = ended
            if ended.code == 0:
                self._say(job, f"completed, {job.cfg.objective} {ended.value:.4f}")
            elif ended.code not in INTERRUPTIONS:
                self._say(job, f"failed: {brief(ended.error)}")
            else:
                self._say(job, "interrupted")
                if self.kind == BASIC:
                    raise Interrupted(ended.code)

    def _wind_down(self, workers: Any) -> None:
        """End what runs in other processes; a further signal ends it at once."""
        from llmft.trainer.signals import Interrupted

        workers.stop()
        while workers.running:
            try:
                self._note(workers)
                time.sleep(POLL_S)
            except Interrupted:
                workers.stop()

    def _returned(self, job: Job) -> Any:
        """What a sweeper is told. Hydra's own would leave out the later batches after a failure: it is told of none."""
        from hydra.core.utils import JobReturn, JobStatus

        told = JobReturn(overrides=list(job.overrides))
        ended, left = self.outcomes.get(job.folder), self.left.get(job.folder)
        value = ended.value if ended else left.value if left else None
        failed = value is None and not str(self.config.hydra.sweeper._target_).endswith(".BasicSweeper")
        told.status = JobStatus.FAILED if failed else JobStatus.COMPLETED
        told.return_value = RuntimeError(f"{job.name}: see {job.folder}") if failed else value
        return told

    def _say(self, job: Job, text: str) -> None:
        place = next(index for index, one in enumerate(self.jobs, 1) if one.folder == job.folder)
        print(f"[{place}/{len(self.jobs)}] {job.name}: {text}", flush=True)


def brief(error: str) -> str:
    """The last line of a message, which says most, cut to a readable length."""
    lines = [line.strip() for line in error.strip().splitlines() if line.strip()] or [""]
    return shorten(lines[-1], 200)
