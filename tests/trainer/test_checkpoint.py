"""Checkpoints on the disk: whole, verified, read without running anything."""

from __future__ import annotations

import json
import os
import random

import pytest
import torch

from llmft import durable
from llmft.trainer import shelf, weights
from llmft.trainer.checkpoint import FolderCheckpointIO


def checkpoint():
    weight = torch.arange(6.0).reshape(2, 3)
    return {
        "state_dict": {"embedding": weight, "head": weight, "row": weight[0], "empty": torch.zeros(0)},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"betas": (0.9, 0.99)}]}],
        "progress": {"steps_done": 3, "lr": 0.1 + 0.2},
    }


def save(folder, step=3):
    path = folder / shelf.folder_name(step)
    FolderCheckpointIO("run").save_checkpoint(checkpoint(), path)
    return path


def test_what_is_loaded_is_what_was_saved(tmp_path):
    loaded = FolderCheckpointIO("run").load_checkpoint(save(tmp_path))
    assert loaded["progress"] == {"steps_done": 3, "lr": 0.1 + 0.2}
    assert loaded["optimizer_states"][0]["param_groups"] == [{"betas": (0.9, 0.99)}]
    for name, tensor in checkpoint()["state_dict"].items():
        assert torch.equal(loaded["state_dict"][name], tensor)


def test_tied_weights_are_written_once_and_stay_tied(tmp_path):
    from safetensors.torch import load_file

    path = save(tmp_path)
    assert set(load_file(path / "weights.safetensors")) == {"embedding", "row", "empty"}
    loaded = weights.load(path / "weights.safetensors")
    assert loaded["head"].data_ptr() == loaded["embedding"].data_ptr()


def test_what_needs_unpickling_is_refused_by_name_and_leaves_nothing(tmp_path):
    bad = checkpoint() | {"algorithm": {"buffer": [1, random.Random(0)]}}
    with pytest.raises(TypeError, match=r"\['algorithm'\]\['buffer'\]\[1\]: a Random cannot be saved"):
        FolderCheckpointIO("run").save_checkpoint(bad, tmp_path / "step_000001")
    assert list(tmp_path.iterdir()) == []


def reseal(path):
    """The manifest of what is there now."""
    owner = json.loads((path / "MANIFEST.json").read_text())["owner"]
    (path / "MANIFEST.json").unlink()
    durable._seal(path, owner)


@pytest.mark.parametrize("file", ["tensors.pt", "weights.safetensors", "state.json", "more.pkl"])
@pytest.mark.parametrize("sealed", [True, False])
def test_a_pickle_in_a_checkpoint_is_not_run(file, sealed, tmp_path, record_property):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    path = save(tmp_path)
    torch.save({"optimizer_states": Evil()}, path / file)
    if sealed:
        reseal(path)
    if file == "more.pkl" and sealed:
        FolderCheckpointIO("run").load_checkpoint(path)  # nobody opens it
    else:
        with pytest.raises(
            Exception,
            match=r"tensors\.pt: refused, and nothing of it was run" if sealed and file == "tensors.pt" else None,
        ):
            FolderCheckpointIO("run").load_checkpoint(path)
    assert not (tmp_path / "ran").exists()
    record_property("15", f"in {file} with {'right' if sealed else 'wrong'} hashes: not run")


def truncated(part):
    return lambda content: content[: int(part * len(content))]


DAMAGES = {
    "empty": truncated(0), "1 %": truncated(0.01), "50 %": truncated(0.5), "99 %": truncated(0.99),
    "one byte short": lambda content: content[:-1], "zeroed tail": lambda content: content[:-16] + bytes(16),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_cut_short_is_passed_over(damage, tmp_path, caplog, record_property):
    """Whichever file it is, the checkpoint before is taken, and the warning names the file."""
    for name in [path.name for path in save(tmp_path, 1).iterdir()]:
        newest = save(tmp_path, 2)
        content = (newest / name).read_bytes()
        (newest / name).write_bytes(DAMAGES[damage](content))
        caplog.clear()
        assert shelf.newest_valid(tmp_path) == tmp_path / "step_000001"
        assert str(newest / name) in caplog.text
    record_property("3", f"{damage}: found in every file, named, the checkpoint before taken")


def test_every_flipped_bit_is_found(tmp_path, caplog, record_property):
    """In any file, the manifest too; what it names is the file, or what the manifest tells of another."""
    save(tmp_path, 1)
    path, rng, found = save(tmp_path, 2), random.Random(0), 0
    assert durable.fault(path) is None
    files = sorted(path.iterdir())
    for _ in range(100):
        file = rng.choice(files)
        content = bytearray(file.read_bytes())
        place = rng.randrange(len(content))
        content[place] ^= 1 << rng.randrange(8)
        whole, _ = file.read_bytes(), file.write_bytes(content)
        fault = str(durable.fault(path))
        found += str(file if file.name != "MANIFEST.json" else path) in fault
        with pytest.raises(RuntimeError):
            FolderCheckpointIO("run").load_checkpoint(path)
        file.write_bytes(whole)
    assert found == 100
    assert durable.fault(path) is None
    record_property("3", f"100 bit flips in its {len(files)} files: {found} found, 0 loaded")


def test_foreign_checkpoints_are_passed_over_and_take_no_place(tmp_path, caplog, record_property):
    ours = save(tmp_path, 3)
    of_another_run = tmp_path / shelf.folder_name(7)
    FolderCheckpointIO("another run").save_checkpoint(checkpoint(), of_another_run)
    of_another_program = tmp_path / shelf.folder_name(9)
    of_another_program.mkdir()
    torch.save({"state_dict": {}}, of_another_program / "pytorch_model.bin")
    (tmp_path / "step_11").mkdir()  # not a name of ours
    (tmp_path / "step_000012").write_text("a file")
    assert shelf.newest_valid(tmp_path, "run") == ours
    for path, why in ((of_another_run, "of another run"), (of_another_program, "cannot be read")):
        assert f"{path}/MANIFEST.json: {why}" in caplog.text
    assert shelf.listed(tmp_path) == [ours]
    assert (tmp_path / "refused-step_000009" / "pytorch_model.bin").is_file()  # set aside, not deleted
    for step in (4, 5):
        save(tmp_path, step)
        shelf.prune(tmp_path, keep=2, best=None)
    assert [shelf.step_of(one) for one in shelf.listed(tmp_path)] == [5, 4]
    record_property("3", "another run's and another program's checkpoints: named, passed over, set aside")


def test_an_additional_file_is_found(tmp_path):
    path = save(tmp_path)
    (path / "more.bin").write_bytes(b"")
    assert "more.bin" in str(durable.fault(path))


def test_the_order_is_by_step_and_not_by_the_clock(tmp_path, record_property):
    old, new = save(tmp_path, 9), save(tmp_path, 10)
    os.utime(new, (0, 0))
    os.utime(old, (2e9, 2e9))
    assert shelf.newest_valid(tmp_path) == new
    assert [shelf.step_of(one) for one in shelf.listed(tmp_path)] == [10, 9]
    record_property("12", "clock set back by decades: the higher step is the newest")


def test_pruning_keeps_the_newest_and_the_best(tmp_path):
    for step in (1, 2, 3, 4, 5):
        save(tmp_path, step)
    shelf.prune(tmp_path, keep=2, best=2)
    assert [shelf.step_of(one) for one in shelf.listed(tmp_path)] == [5, 4, 2]


def test_pruning_deletes_nothing_while_the_newest_is_damaged(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step)
    (tmp_path / "step_000003" / "tensors.pt").write_bytes(b"")
    shelf.prune(tmp_path, keep=1, best=None)
    assert len(shelf.listed(tmp_path)) == 3


def test_a_replaced_checkpoint_is_never_missing(tmp_path, monkeypatch):
    """Killed between the two renames: the old one comes back."""
    path, real = save(tmp_path), os.rename

    class Killed(BaseException):
        pass

    def rename(source, target):
        if str(source).endswith(".tmp-step_000003"):
            raise Killed
        real(source, target)

    monkeypatch.setattr(durable.os, "rename", rename)
    with pytest.raises(Killed):
        save(tmp_path)
    monkeypatch.undo()
    assert not path.exists()
    durable.clean(tmp_path)
    assert durable.fault(path) is None
    assert [one.name for one in tmp_path.iterdir()] == ["step_000003"]
    save(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["step_000003"]
