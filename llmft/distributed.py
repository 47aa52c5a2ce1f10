"""What the ranks of one run say to each other. With one process every function here is the identity."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def world_size() -> int:
    """Number of processes that share this run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Index of this process among them, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def all_sum(values: Tensor) -> Tensor:
    """The element-wise sum of ``values`` over all ranks; the same on each."""
    if world_size() == 1:
        return values
    total = values.clone()
    if dist.get_backend() == "nccl":
        total = total.cuda()
    dist.all_reduce(total)
    return total.to(values.device)


def all_max(value: int) -> int:
    """The largest ``value`` of any rank."""
    if world_size() == 1:
        return value
    return max(gather([value]))


def gather(items: list[T]) -> list[T]:
    """The items of all ranks, in the order of the ranks; every rank gets the whole list."""
    if world_size() == 1:
        return items
    parts: list[list[T] | None] = [None] * world_size()
    dist.all_gather_object(parts, items)
    return [item for part in parts for item in part or []]


def sum_dicts(values: dict[str, float]) -> dict[str, float]:
    """Each key's sum over all ranks; a key that some rank lacks counts as 0 there."""
    if world_size() == 1:
        return values
    everyone = gather([values])
    keys = sorted({key for one in everyone for key in one})
    return {
        key: float(torch.tensor([one.get(key, 0.0) for one in everyone], dtype=torch.float64).sum()) for key in keys
    }
