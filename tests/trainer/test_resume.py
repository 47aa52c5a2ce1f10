"""A run that is cut anywhere and continued ends as if nothing had happened, bit for bit."""

from __future__ import annotations

import json
import logging

import pytest
from cutting import Cut, CutAfter, CutBetweenUpdates

from llmft import durable
from llmft.config import Stop
from llmft.trainer import shelf


@pytest.fixture
def whole(session, outcome, tmp_path):
    """What the uninterrupted run of an algorithm ends with."""

    def run(kind, **options):
        folder = tmp_path / f"whole-{kind}"
        session(kind, folder, **options).fit()
        return outcome(folder)

    return run


def cut_and_continue(session, kind, callback, folder, **options):
    cut = session(kind, folder, callbacks={"cut": callback} if callback else None, **options)
    with pytest.raises(Cut):
        cut.fit()
    session(kind, folder, resume=True, **options).fit()


@pytest.mark.parametrize("kind", ["line", "sft", "grpo"])
@pytest.mark.parametrize("make", [CutAfter, CutBetweenUpdates])
def test_cut_at_every_step(kind, make, session, whole, outcome, tmp_path, record_property):
    expected = whole(kind)
    for step in range(make is CutAfter, 4):
        folder = tmp_path / f"{step}"
        cut_and_continue(session, kind, make(step), folder)
        assert outcome(folder) == expected, f"cut at step {step}"
    record_property("2", f"{kind} {'after' if make is CutAfter else 'in'} each step: equal to the bit")


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_cut_where_the_checkpoint_is_older(kind, session, whole, outcome, tmp_path):
    """The rows and samples between checkpoint and cut are made again, and stand there once."""
    expected = whole(kind, checkpoint_every=3, evaluate=4)
    for step in (1, 2, 3):
        folder = tmp_path / f"{step}"
        cut_and_continue(session, kind, CutAfter(step), folder, checkpoint_every=3, evaluate=4)
        assert outcome(folder) == expected, f"cut at step {step}"


@pytest.mark.parametrize("kind", ["sft", "grpo"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_cut_during_an_evaluation(kind, number, session, whole, outcome, tmp_path, monkeypatch, record_property):
    """When its responses are sampled: before the first step, in the middle, after the last."""
    from llmft.trainer.evaluation import Evaluation

    expected, real, calls = whole(kind), Evaluation._metrics, []

    def cut(self, groups):
        calls.append(groups)
        if len(calls) == number:
            raise Cut
        return real(self, groups)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluation, "_metrics", cut)
        with pytest.raises(Cut):
            session(kind, tmp_path / "run").fit()
    session(kind, tmp_path / "run", resume=True).fit()
    assert outcome(tmp_path / "run") == expected
    record_property("2", f"{kind} in evaluation {number}: equal to the bit")


@pytest.mark.parametrize("kind", ["sft", "grpo"])
@pytest.mark.parametrize("when", ["_seal", "flush"])
def test_cut_during_a_save(kind, when, session, whole, outcome, tmp_path, monkeypatch, record_property):
    """Before the manifest is written, and when everything is but the rename."""
    expected, real = whole(kind), getattr(durable, when)
    for number in (1, 2, 3, 4):
        folder, saves = tmp_path / f"{number}", []

        def fail(path, *owner, number=number, saves=saves):
            if when == "_seal" or (path.name.startswith(".tmp-step") and path.is_dir()):
                saves.append(path)
                if len(saves) == number:
                    raise Cut
            return real(path, *owner)

        with monkeypatch.context() as patch:
            patch.setattr(durable, when, fail)
            with pytest.raises(Cut):
                session(kind, folder).fit()
        session(kind, folder, resume=True).fit()
        assert outcome(folder) == expected, f"cut in save {number}"
    record_property("2", f"{kind} in each save: equal to the bit")


@pytest.mark.parametrize("what", ["log", "sample"])
def test_cut_while_recording(what, session, whole, outcome, tmp_path, monkeypatch):
    """What a checkpoint relies on is written before it, or the row of its step would be lost."""
    from llmft.trainer.run import RunFolder

    expected, real, calls = whole("sft"), getattr(RunFolder, what), []

    def cut(self, *arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise Cut
        real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, what, cut)
        with pytest.raises(Cut):
            session("sft", tmp_path / "run").fit()
    session("sft", tmp_path / "run", resume=True).fit()
    assert outcome(tmp_path / "run") == expected


def test_cut_before_the_first_checkpoint_begins_again(session, whole, outcome, tmp_path):
    expected = whole("sft")
    cut_and_continue(session, "sft", CutBetweenUpdates(0), tmp_path / "run")
    assert outcome(tmp_path / "run") == expected


def test_what_a_crash_left_half_written_is_cleaned_up(session, whole, outcome, tmp_path):
    expected, folder = whole("sft"), tmp_path / "run"
    with pytest.raises(Cut):
        session("sft", folder, callbacks={"cut": CutAfter(3)}).fit()
    (folder / "checkpoints" / ".tmp-step_000004-77").mkdir()
    (folder / "checkpoints" / ".tmp-step_000004-77" / "weights.safetensors").write_bytes(b"half")
    (folder / "checkpoints" / ".del-step_000001-77").mkdir()
    with (folder / "metrics.csv").open("a") as file:
        file.write("4,0.2")
    with (folder / "samples.jsonl").open("a") as file:
        file.write('{"step": 4, "ta')
    session("sft", folder, resume=True).fit()
    assert outcome(folder) == expected
    assert not [path for path in (folder / "checkpoints").iterdir() if path.name.startswith(".")]


def test_two_cuts(session, whole, outcome, tmp_path):
    expected, folder = whole("grpo"), tmp_path / "run"
    for step, resume in ((1, False), (3, True)):
        with pytest.raises(Cut):
            session("grpo", folder, resume=resume, callbacks={"cut": CutAfter(step)}).fit()
    session("grpo", folder, resume=True).fit()
    assert outcome(folder) == expected


@pytest.mark.parametrize("damage", ["a flipped bit", "a missing file", "no manifest", "another run's manifest"])
def test_a_damaged_checkpoint_is_passed_over(damage, session, whole, outcome, tmp_path, caplog, record_property):
    """To the very bits of a run that had no damage; `test_checkpoint.py` damages in more ways."""
    expected, folder = whole("sft"), tmp_path / "run"
    with pytest.raises(Cut):
        session("sft", folder, callbacks={"cut": CutAfter(3)}).fit()
    newest = shelf.listed(folder / "checkpoints")[0]
    file = newest / ("weights.safetensors" if damage in ("a flipped bit", "a missing file") else "MANIFEST.json")
    content = file.read_bytes()
    file.unlink()
    if damage == "a flipped bit":
        file.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    if damage == "another run's manifest":
        file.write_text(json.dumps(json.loads(content) | {"owner": "of another run"}))
    with caplog.at_level(logging.WARNING):
        session("sft", folder, resume=True).fit()
    assert str(file) in caplog.text
    assert outcome(folder) == expected
    record_property("3", f"newest checkpoint with {damage}: the one before continues to the same bits")


@pytest.mark.parametrize("when", ["before pruning", "while pruning"])
def test_killed_between_the_rename_and_the_pruning(
    when, session, whole, outcome, tmp_path, monkeypatch, record_property
):
    """One checkpoint too many, until the next start."""
    expected, folder, calls = whole("sft"), tmp_path / "run", []
    owner, name = (shelf, "prune") if when == "before pruning" else (durable.shutil, "rmtree")
    real = getattr(owner, name)

    def killed(path, *rest, **named):
        late = when == "before pruning" or path.name.startswith(".del-step")
        calls.append(path) if late else None
        if late and len(calls) == (4 if when == "before pruning" else 2):  # pruned at the start, too
            raise Cut
        real(path, *rest, **named)

    monkeypatch.setattr(owner, name, killed)
    with pytest.raises(Cut):
        session("sft", folder).fit()
    monkeypatch.undo()
    left = [path.name for path in (folder / "checkpoints").iterdir()]
    assert len(left) == 2 + 1
    real_prune, seen = shelf.prune, []

    def prune(checkpoints, **named):
        real_prune(checkpoints, **named)
        seen.append(sorted(path.name for path in checkpoints.iterdir()))

    monkeypatch.setattr(shelf, "prune", prune)
    session("sft", folder, resume=True).fit()
    assert [name.startswith("step_") for name in seen[0]] == [True, True]  # before the first step
    assert outcome(folder) == expected
    record_property("13", f"killed {when}: {len(left)} left of at most 2 + 1, and 2 after the next start")


def test_nothing_undamaged_is_refused(session, tmp_path):
    session("sft").fit()
    for newest in shelf.listed(tmp_path / "run" / "checkpoints"):
        (newest / "state.json").write_text("{}")
    with pytest.raises(RuntimeError, match="none of the 3 checkpoints is undamaged"):
        session("sft", resume=True)


def test_more_steps_go_on_from_the_last(session, tmp_path):
    session("sft", max_steps=2).fit()
    session("sft", resume=True, max_steps=3).fit()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("completed", 3)


def test_a_finished_run_is_left_alone(session, tmp_path):
    session("line").fit()
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    again = session("line", resume=True)
    again.run.close()
    assert again.run.finished
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_killed_while_finishing(session, tmp_path):
    """All steps are done, `final/` is not there: continuing makes it and nothing else."""
    session("sft").fit()
    durable.remove_folder(tmp_path / "run" / "final")
    (tmp_path / "run" / "summary.json").write_text('{"status": "running"}')
    session("sft", resume=True).fit()
    assert (tmp_path / "run" / "final" / "model.safetensors").is_file()
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "completed"


def test_other_data_is_refused(session, tmp_path, record_property):
    one = session("line")
    one.fit()
    other = type(one.run)(one.path, objective="train/loss", tokens=None)
    with other, pytest.raises(Stop, match=r"not the files .* data: train\.jsonl") as stop:
        other.resume("config", {"files": {"data": {"train.jsonl": "abc"}, "model": {}}}, [], 9)
    assert stop.value.code == 2
    record_property("11", "data: refused with exit 2, the differing files or keys listed")
