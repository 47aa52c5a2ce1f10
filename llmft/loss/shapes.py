"""The shape check that every loss begins with, because broadcasting would hide a mistake."""

from __future__ import annotations

from torch import Tensor


def require_same_shape(**tensors: Tensor) -> None:
    """Raise ValueError unless all tensors have one shape ``[B, T]``; the message names each tensor with its shape."""
    shapes = {tuple(tensor.shape) for tensor in tensors.values()}
    if len(shapes) == 1 and len(next(iter(shapes))) == 2:
        return
    named = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
    raise ValueError(f"shapes differ: {named}; expected one [B, T] for all")
