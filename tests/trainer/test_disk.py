"""Disks that are full, read-only, or another one: said with path and bytes, and the checkpoint of before stays valid."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import tempfile
from pathlib import Path

import pytest
from lightning.pytorch import Callback

from llmft import durable
from llmft.config import Stop
from llmft.trainer import shelf
from llmft.trainer.run import RunFolder


@pytest.fixture
def small_disk(tmp_path):
    """12 MB of memory as a filesystem of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a tmpfs is not permitted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


class Fill(Callback):
    """After a step, leaves only so many bytes on the disk."""

    def __init__(self, disk, step, leave):
        self.disk, self.step, self.leave = disk, step, leave

    def on_train_batch_start(self, trainer, pl_module, *_):
        if pl_module.steps_done == self.step:
            with (self.disk / "ballast").open("wb") as file:
                file.write(bytes(durable.free(self.disk) - self.leave))


def is_as_after_step(step, folder):
    """The newest checkpoint is that step's, valid, and nothing half-written lies beside it."""
    found = sorted(path.name for path in (folder / "checkpoints").iterdir())
    return (
        found[-1] == shelf.folder_name(step) == found[0] and durable.fault(folder / "checkpoints" / found[-1]) is None
    )


@pytest.mark.parametrize(
    ("leave", "expected"),
    [
        (300_000, r"step_000002: takes 1,\d{3},\d{3} bytes, and \d{2,3},\d{3} bytes are free there; make room"),
        (
            0,
            r"(step_000002|metrics\.csv|samples\.jsonl): (takes|cannot be written .*No space).* \d+ bytes are free there",
        ),
    ],
)
def test_a_full_disk(leave, expected, session, outcome, small_disk, tmp_path, record_property):
    """Seen before a byte is written, or, where not even a row fits, when it is."""
    folder, options = small_disk / "run", {"keep_checkpoints": 1}
    with pytest.raises(RuntimeError, match=expected) as error:
        session("sft", folder, callbacks={"fill": Fill(small_disk, 1, leave)}, **options).fit()
    assert str(folder) in str(error.value)
    assert is_as_after_step(1, folder)
    (small_disk / "ballast").unlink()
    session("sft", folder, resume=True, **options).fit()
    session("sft", tmp_path / "whole", **options).fit()
    assert outcome(folder) == outcome(tmp_path / "whole")
    record_property(
        "4",
        f"12 MB tmpfs with {leave:,} bytes left: exit 1 with path and bytes, the one before valid, nothing half-written",
    )


@pytest.mark.parametrize(("name", "size"), [("weights.safetensors", 40_000), ("tensors.pt", 120_000)])
def test_a_disk_that_fills_while_a_checkpoint_is_written(name, size, session, tmp_path, monkeypatch, record_property):
    """The look at the free bytes came too early: the writer itself meets the end, here of what a file may have."""
    folder, looks = tmp_path / "run", []

    def end_of_files(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    def look(path, size_of_all):
        looks.append(path)
        if len(looks) == 2:
            end_of_files(size)

    monkeypatch.setattr(durable, "require_space", look)
    try:
        with pytest.raises(RuntimeError, match=r"step_000002: cannot be written .* bytes are free there"):
            session("sft", folder).fit()
    finally:
        end_of_files(resource.RLIM_INFINITY)
    assert is_as_after_step(1, folder)
    sizes = {path.name: path.stat().st_size for path in (folder / "checkpoints" / "step_000001").iterdir()}
    assert next(one for one in ("weights.safetensors", "tensors.pt") if sizes[one] > size) == name
    record_property(
        "4",
        f"no more bytes while {name} is written: exit 1 with path and bytes, the one before valid, nothing half-written",
    )


def test_what_libraries_say_of_a_full_disk_names_the_path(small_disk):
    """Each raises an error of its own."""
    import torch

    from llmft.trainer import weights

    big = {"x": torch.zeros(5_000_000)}

    def write(how):
        with durable.new_folder(small_disk / "step_000001", seal="run") as folder:
            how(big, folder / "file")

    for how in (weights.save, torch.save):
        with pytest.raises(RuntimeError, match=r"step_000001: cannot be written .*; [\d,]+ bytes are free there"):
            write(how)
        assert list(small_disk.iterdir()) == []


def as_nobody(job):
    """The exit code of ``job`` as a user who may not write what root may."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.setgid(65534), os.setuid(65534)
            os._exit(job())
        os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("what", ["folder", "checkpoints"])
def test_a_folder_that_may_not_be_written_is_refused_at_the_start(what, record_property):
    """Not at the first save. Checked as another user, since root may write everything."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # where another user may look
        os.chmod(place, 0o755)
        folder = Path(place) / "run"
        with RunFolder(folder, objective="train/loss", tokens=None) as run:
            run.begin("config", {"files": {"data": {}, "model": {}}})
        for path in [folder, *folder.rglob("*")]:
            os.chmod(path, 0o777 if path.is_dir() else 0o666)
        os.chmod(folder if what == "folder" else folder / "checkpoints", 0o555)

        def job():
            try:
                with RunFolder(folder, objective="train/loss", tokens=None) as again:
                    again.resume("config", {"files": {"data": {}, "model": {}}}, [], 9)
            except Stop as stop:
                return stop.code if f"{folder}: choose a folder that can be written" in str(stop) else 98
            return 0

        assert as_nobody(job) == 2
    record_property("5", f"{what} that may not be written: exit 2 at the start, with the path")


def test_a_read_only_disk_is_refused_at_the_start(small_disk, record_property):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(Stop, match=rf"hydra\.run\.dir={small_disk}/run: .*Read-only file system") as stop:
        RunFolder(small_disk / "run", objective="train/loss", tokens=None)
    assert stop.value.code == 2
    record_property("5", "read-only disk: exit 2 at the start, with the path")


def test_temporary_files_of_the_system_play_no_part(
    session, outcome, small_disk, tmp_path, monkeypatch, record_property
):
    """$TMPDIR is another disk, too small for anything: a save that is cut is still whole or not there."""

    class Cut(BaseException):
        pass

    (small_disk / "full").write_bytes(bytes(durable.free(small_disk)))
    monkeypatch.setenv("TMPDIR", str(small_disk))
    monkeypatch.setattr(tempfile, "tempdir", None)
    real, saves = durable._flush_all, []

    def flush_all(folder):
        saves.append(folder)
        if len(saves) == 3:
            raise Cut
        real(folder)

    monkeypatch.setattr(durable, "_flush_all", flush_all)
    with pytest.raises(Cut):
        session("sft", tmp_path / "run").fit()
    monkeypatch.setattr(durable, "_flush_all", real)
    assert shelf.step_of(shelf.listed(tmp_path / "run" / "checkpoints")[0]) == 2
    session("sft", tmp_path / "run", resume=True).fit()
    session("sft", tmp_path / "whole").fit()
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
    assert [path.name for path in small_disk.iterdir()] == ["full"]
    record_property("6", "a cut save with that disk full: no file of ours is there, saves are whole or absent")
