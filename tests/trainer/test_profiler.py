"""`callbacks=profiler`: where a step's seconds go, by phase and by operator."""

from __future__ import annotations

import gzip
import json
from types import SimpleNamespace

import pytest

from llmft.trainer import profiler
from llmft.trainer.operators import operators
from llmft.trainer.profile import Profile

ASKED = {"warm_up": 1, "traced": 1, "timed": 2, "rows": 5, "trace_mb": 100.0}


def profiled(session, kind, folder, **options):
    """What a profiled run of five steps wrote."""
    asked = Profile(**ASKED | {name: options.pop(name) for name in ASKED if name in options})
    session(kind, max_steps=5, callbacks={"profile": asked}, **options).fit()
    return json.loads((folder / "run" / "profile" / "profile.json").read_text())


def test_the_phases_of_a_step_sum_to_it():
    row = {"time/generate_s": 3.0, "time/reward_s": 0.5, "time/logps_s": 0.25, "time/update_s": 4.0, "time/sync_s": 1.0}
    row |= {"time/step_s": 9.0, "time/evaluate_s": 7.0, "train/loss": 2.0}
    found = profiler.phases(row, {"forward": 1.0, "backward": 2.0, "optimizer": 0.5, "sync": 1.0, "evaluate": 7.0})
    assert found == {
        "generate": 3.0, "reward": 0.5, "logps": 0.25, "forward": 1.0, "backward": 2.0, "optimizer": 0.5, "sync": 1.0,
        "other": 0.75, "step": 9.0, "evaluate": 7.0,
    }  # fmt: skip


def event(name, start, end, own, gpu=0.0, device="CPU"):
    return SimpleNamespace(
        name=name, device_type=SimpleNamespace(name=device), time_range=SimpleNamespace(start=start, end=end),
        self_cpu_time_total=own, self_device_time_total=gpu,
    )  # fmt: skip


EVENTS = [
    event("phase/forward", 0, 100, 30), event("mm", 10, 60, 50), event("add", 60, 80, 20),
    event("phase/backward", 200, 400, 80), event("mm", 200, 320, 120), event("copy", 150, 160, 10),
]  # fmt: skip


def test_an_operator_belongs_to_the_phase_it_began_in():
    known = operators(EVENTS, steps=2)
    assert [(row.name, row.phase, row.calls, row.cpu_ms) for row in known.rows] == [
        ("mm", "backward", 0.5, 0.06), ("mm", "forward", 0.5, 0.025),
        ("add", "forward", 0.5, 0.01), ("copy", "other", 0.5, 0.005),
    ]  # fmt: skip
    assert known.python_ms == {"forward": 0.015, "backward": 0.04}


def test_where_there_is_a_gpu_its_time_gives_the_order():
    on_gpu = [event("launch", 1, 2, 900, gpu=1.0), event("kernel", 1, 2, 5, device="CUDA")]
    (first, *_), _ = operators([*EVENTS, event("matmul", 5, 6, 1, gpu=3000.0), *on_gpu], steps=1)
    assert (first.name, first.gpu_ms) == ("matmul", 3.0)


def test_a_profiled_run_ends_as_any_other_and_says_where_its_seconds_went(session, outcome, tmp_path, capsys):
    found = profiled(session, "grpo", tmp_path)
    assert found["timed_steps"] == 2
    phases = ["guide", "generate", "reward", "logps", "forward", "backward", "optimizer", "sync", "other"]
    assert list(found["phase_s"]) == phases
    assert sum(found["phase_s"].values()) == pytest.approx(found["step_s"], rel=1e-9)
    assert all(seconds >= 0 for seconds in found["phase_s"].values())
    assert found["evaluate_s"] > 0  # after step 4
    assert found["records_s"] > 0
    assert {"generate", "logps", "forward", "backward", "optimizer"} <= {row["phase"] for row in found["operators"]}
    out = capsys.readouterr().out
    assert "a step by the clock: the mean of 2" in out
    assert "aten::" in out
    written = (tmp_path / "run" / "profile" / "profile.txt").read_text()
    assert "backward" in written
    assert "aten::" in written
    with gzip.open(tmp_path / "run" / "profile" / "trace.json.gz", "rt") as file:
        names = {one.get("name") for one in json.load(file)["traceEvents"]}
    assert {"phase/forward", "phase/backward", "phase/optimizer"} <= names
    session("grpo", tmp_path / "plain", max_steps=5).fit()
    plain, measured = outcome(tmp_path / "plain"), outcome(tmp_path / "run")
    for one in (plain, measured):
        del one["state"]["callbacks"]
    assert measured == plain


def test_without_permission_the_phases_stand(session, tmp_path, monkeypatch, caplog):
    class Forbidden:
        def __init__(self, activities):
            raise RuntimeError("CUPTI_ERROR_INSUFFICIENT_PRIVILEGES: not for you\nand more")

    monkeypatch.setattr(profiler, "profile", Forbidden)
    found = profiled(session, "line", tmp_path)
    assert found["operators"] == []
    assert found["phase_s"]["backward"] > 0
    (said,) = [one.getMessage() for one in caplog.records]
    assert said == (
        "torch's profiler may not look (CUPTI_ERROR_INSUFFICIENT_PRIVILEGES: not for you); no operators are listed, and "
        "the phases stand"
    )


def test_without_permission_for_the_gpu_it_is_left_out(monkeypatch, caplog):
    class CpuOnly:
        def __init__(self, activities):
            if len(activities) > 1:
                raise RuntimeError("CUPTI_ERROR_INSUFFICIENT_PRIVILEGES")
            self.started = False

        def start(self):
            self.started = True

    monkeypatch.setattr(profiler, "profile", CpuOnly)
    assert profiler.started(on_cuda=True).started
    assert len(caplog.records) == 1
    assert "the GPU is left out" in caplog.text


def test_a_folder_that_cannot_be_written_loses_the_files_alone(session, tmp_path, caplog, capsys):
    one = session("line", max_steps=5, callbacks={"profile": Profile(**ASKED)})
    (tmp_path / "run" / "profile").write_text("in the way")
    one.fit()
    assert "a step by the clock" in capsys.readouterr().out
    assert "printed but not written" in caplog.text


def test_a_large_trace_is_not_kept(session, tmp_path, caplog):
    assert profiled(session, "line", tmp_path, trace_mb=0.001)["operators"]
    assert "callbacks.profile.trace_mb" in caplog.text
    assert not (tmp_path / "run" / "profile" / "trace.json.gz").exists()


def test_a_run_of_too_few_steps_says_so(session, tmp_path, capsys):
    session("line", max_steps=1, callbacks={"profile": Profile(**ASKED)}).fit()
    assert "no step was timed; raise trainer.max_steps" in capsys.readouterr().out
