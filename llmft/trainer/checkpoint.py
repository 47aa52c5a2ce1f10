"""Checkpoints as folders, through Lightning's CheckpointIO.

    step_000120/
        weights.safetensors    the trained tensors
        tensors.pt             what else holds tensors: optimizer moments, a replay buffer
        state.json             the rest: step, position in the data, best metric, versions
        MANIFEST.json          sizes and hashes; without it the folder does not count

Nothing is read by unpickling objects: ``tensors.pt`` is loaded with ``weights_only=True``, and what such a load would
refuse is refused when it is saved.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from torch import Tensor

from llmft import durable
from llmft.trainer import weights

WEIGHTS, TENSORS, STATE = "weights.safetensors", "tensors.pt", "state.json"
ROOM_FOR_THE_REST = 2**20  # bytes, for what of a checkpoint is not tensors


class FolderCheckpointIO(CheckpointIO):
    """Writes a checkpoint as a folder, whole or not at all; reads it without running anything that it contains.

    ``owner`` is the run that its checkpoints belong to.
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        rest = {name: value for name, value in checkpoint.items() if name != "state_dict"}
        refuse_objects(rest)
        plain = {name: value for name, value in rest.items() if is_plain(value)}
        durable.require_space(Path(path), sum(tensor.nbytes for tensor in tensors_of(checkpoint)) + ROOM_FOR_THE_REST)
        with durable.new_folder(Path(path), seal=self.owner) as folder:
            weights.save(checkpoint["state_dict"], folder / WEIGHTS)
            torch.save({name: value for name, value in rest.items() if name not in plain}, folder / TENSORS)
            (folder / STATE).write_text(json.dumps(plain, indent=2), encoding="utf-8")

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        folder = Path(path)
        if fault := durable.fault(folder):
            raise RuntimeError(f"{fault}; choose another checkpoint")
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        try:
            tensors = torch.load(folder / TENSORS, map_location="cpu", weights_only=True)
        except Exception as error:
            why = str(error).splitlines()[0]
            raise RuntimeError(
                f"{folder / TENSORS}: refused, and nothing of it was run: it holds more than tensors and plain values "
                f"({why}); delete {folder} to continue from the checkpoint before it"
            ) from error
        return {**state, **tensors, "state_dict": weights.load(folder / WEIGHTS)}

    def remove_checkpoint(self, path: str | Path) -> None:
        durable.remove_folder(Path(path))


def tensors_of(value: object) -> Iterator[Tensor]:
    """Every tensor in nested dictionaries and sequences."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from tensors_of(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from tensors_of(one)


def is_plain(value: object) -> bool:
    """Does ``value`` come back from JSON as it went in?"""
    if type(value) is dict:
        return all(type(key) is str and is_plain(item) for key, item in value.items())
    if type(value) is list:
        return all(is_plain(item) for item in value)
    return value is None or type(value) in (str, int, float, bool)


def refuse_objects(value: object, path: str = "") -> None:
    """Raise TypeError, naming the place, for anything that could not be read without unpickling objects."""
    if isinstance(value, Mapping):
        inside: Iterable[tuple[object, object]] = value.items()
    elif type(value) in (list, tuple, set):
        inside = enumerate(value)  # type: ignore[arg-type]
    elif value is None or isinstance(value, Tensor) or type(value) in (str, int, float, bool, torch.dtype):
        return
    else:
        raise TypeError(f"checkpoint{path}: a {type(value).__name__} cannot be saved; keep JSON values and tensors")
    for key, item in inside:
        refuse_objects(item, f"{path}[{key!r}]")
