"""Checkpoints on the disk: whole, verified, read without running anything."""

from __future__ import annotations

import json
import os
import random

import pytest
import torch

from llmft.trainer import durable, shelf, weights
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
    FolderCheckpointIO().save_checkpoint(checkpoint(), path)
    return path


def test_what_is_loaded_is_what_was_saved(tmp_path):
    loaded = FolderCheckpointIO().load_checkpoint(save(tmp_path))
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
        FolderCheckpointIO().save_checkpoint(bad, tmp_path / "step_000001")
    assert list(tmp_path.iterdir()) == []


def test_a_pickle_in_a_checkpoint_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    path = save(tmp_path)
    torch.save({"optimizer_states": Evil()}, path / "tensors.pt")
    files = json.loads((path / "MANIFEST.json").read_text())
    size = (path / "tensors.pt").stat().st_size
    files["files"]["tensors.pt"] = {"size": size, "sha256": durable.sha256(path / "tensors.pt")}
    (path / "MANIFEST.json").write_text(json.dumps(files))
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        FolderCheckpointIO().load_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_every_flipped_bit_is_found(tmp_path):
    path, rng = save(tmp_path), random.Random(0)
    assert durable.fault(path) is None
    for _ in range(100):
        file = rng.choice([file for file in path.iterdir() if file.name != "MANIFEST.json"])
        content = bytearray(file.read_bytes())
        place = rng.randrange(len(content))
        content[place] ^= 1 << rng.randrange(8)
        whole, _ = file.read_bytes(), file.write_bytes(content)
        assert str(file) in str(durable.fault(path))
        file.write_bytes(whole)


@pytest.mark.parametrize("part", [0, 0.01, 0.5, 0.99])
def test_every_truncation_is_found(part, tmp_path):
    path = save(tmp_path)
    for file in list(path.iterdir()):
        whole = file.read_bytes()
        file.write_bytes(whole[: int(part * len(whole))])
        assert str(path) in str(durable.fault(path))
        file.write_bytes(whole)


def test_an_additional_file_is_found(tmp_path):
    path = save(tmp_path)
    (path / "more.bin").write_bytes(b"")
    assert "more.bin" in str(durable.fault(path))


def test_the_order_is_by_step_and_not_by_the_clock(tmp_path):
    old, new = save(tmp_path, 9), save(tmp_path, 10)
    os.utime(new, (0, 0))
    os.utime(old, (2e9, 2e9))
    assert shelf.newest_valid(tmp_path) == new
    assert [shelf.step_of(one) for one in shelf.listed(tmp_path)] == [10, 9]


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


def test_a_full_disk_leaves_the_others_and_says_where(tmp_path, monkeypatch):
    first = save(tmp_path, 1)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "save", full)
    with pytest.raises(RuntimeError, match=r"step_000002: cannot be written .*No space left.*bytes are free"):
        save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step_000001"]
    assert durable.fault(first) is None
