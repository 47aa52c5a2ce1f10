"""Models that compute in float64 throughout, for tests to 1e-9."""

from __future__ import annotations

from types import MethodType

from torch import nn
from torch.nn.functional import rms_norm


def in_float64(module: nn.Module) -> nn.Module:
    """The module in float64, its norms too: those of transformers compute in float32, whatever the weights are."""
    for part in module.double().modules():
        if hasattr(part, "variance_epsilon"):
            part.forward = MethodType(_rms_norm, part)
        elif hasattr(part, "_norm"):  # Gemma's
            part.forward = MethodType(_offset_rms_norm, part)
    return module


def _rms_norm(norm, x):
    return rms_norm(x, x.shape[-1:], norm.weight, norm.variance_epsilon)


def _offset_rms_norm(norm, x):
    return norm._norm(x) * (1 + norm.weight)
