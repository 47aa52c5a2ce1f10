"""What the tests of several rooms stand on: a tiny model in a folder, its tokens, its policy, and the shared data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# A busy machine is no fault of the code; random examples are for developers, the same ones each time for CI.
settings.register_profile(
    "llmft", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("llmft")

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("LLMFT_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared():
    """``shared("data/gsm8k/test.jsonl")``: a file of the shared folder, or a skip that names it."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"needs ../shared/{name}, which is not there")
        return path

    return find


@pytest.fixture(scope="session")
def tiny_source():
    """A random Llama of some 20 thousand parameters over printable ASCII, not yet made."""
    from llmft.model.scratch import Scratch

    return Scratch(hidden_size=32, layers=2, heads=2, ffn_size=64, context=256, rope_theta=1e4, init_std=0.2)


@pytest.fixture(scope="session")
def tokens(tiny_source):
    return tiny_source.tokens()


@pytest.fixture
def policy(tiny_source):
    """The tiny Llama in float64, fresh for each test."""
    from double import in_float64

    from llmft.seeds import Seeds

    return in_float64(tiny_source.load(quantization=None, adapter=None, seeds=Seeds(0)))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory, tiny_source) -> Path:
    """The tiny Llama saved in float32, as ``model=hf model.path=...`` reads it."""
    from llmft.seeds import Seeds

    folder = tmp_path_factory.mktemp("tiny")
    tiny_source.load(quantization=None, adapter=None, seeds=Seeds(0)).save(folder)
    tiny_source.tokens().save(folder)
    return folder
