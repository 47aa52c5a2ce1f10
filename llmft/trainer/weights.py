"""Named tensors in safetensors, also where names share memory, as a tied head and embedding do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor


def save(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write ``tensors``. Names of the very same memory are written once and stay shared when read."""
    from safetensors.torch import save_file

    kept: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    first: dict[tuple[object, ...], str] = {}
    for name, tensor in tensors.items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        owner = first.setdefault(place, name) if tensor.numel() else name
        if owner == name:
            # A copy, since two views of one storage that overlap in part may not stand in one file.
            kept[name] = tensor.detach().cpu().clone().contiguous()
        else:
            aliases[name] = owner
    save_file(kept, path, metadata={"aliases": json.dumps(aliases)})


def load(path: Path) -> dict[str, Tensor]:
    """What `save` wrote, on the CPU."""
    from safetensors import safe_open

    with safe_open(path, framework="pt", device="cpu") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        aliases = json.loads((file.metadata() or {}).get("aliases", "{}"))
    return tensors | {name: tensors[owner] for name, owner in aliases.items()}
