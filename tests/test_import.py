"""Importing does nothing and costs little; composing a config needs no torch."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import llmft
from llmft.config import ROOT

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(llmft.__path__, "llmft.")
    if not module.name.rpartition(".")[2].startswith("_")
)
# Four to six seconds each, or a download, or a logger set up: imported where they are used.
HEAVY = {
    "bitsandbytes",
    "chromadb",
    "datasets",
    "faiss",
    "lightning",
    "math_verify",
    "matplotlib",
    "peft",
    "sentence_transformers",
    "transformers",
    "trl",
    "wandb",
}
# What some rooms are made of: nobody imports these modules before they are needed.
MAY = {"llmft.sampler": {"transformers"}, "llmft.trainer": {"lightning", "matplotlib"}}


def output_of(code: str) -> str:
    """What ``code`` prints in a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(code: str) -> set[str]:
    """The modules that are loaded after ``code`` ran."""
    return set(
        json.loads(output_of(f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))").splitlines()[-1])
    )


def room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def test_the_configuration_is_light():
    loaded = loaded_by("import llmft.config; from llmft.config import Why, Fault, ConfigError, find")
    assert not {"torch", "pydantic", "omegaconf", "hydra", "transformers", "numpy"} & loaded


def test_composing_needs_no_torch():
    loaded = loaded_by("from llmft.config import compose; compose(['algorithm=sft', 'debug=limit'])")
    assert not ({"torch", "pydantic", "numpy"} | HEAVY) & loaded


def test_cfg_job_needs_no_torch_and_prints_the_config():
    code = "import sys, runpy; sys.argv = ['train.py', '--cfg', 'job']; runpy.run_path('train.py', run_name='__main__')"
    loaded = loaded_by(code)
    assert not ({"torch", "pydantic", "numpy"} | HEAVY) & loaded


def test_no_module_imports_what_it_may_not_need():
    order = sorted(MODULES, key=lambda name: room(name) in MAY)  # what these load would hide what the others do
    code = f"""
import importlib, json, sys
loaded, seen = {{}}, set()
for name in {order!r}:
    importlib.import_module(name)
    loaded[name], seen = sorted({HEAVY!r} & set(sys.modules) - seen), {HEAVY!r} & set(sys.modules)
print(json.dumps(loaded))
"""
    loaded = json.loads(output_of(code))
    assert {name: libraries for name, libraries in loaded.items() if set(libraries) - MAY.get(room(name), set())} == {}


def test_checking_loads_no_more_than_torch():
    loaded = loaded_by("from llmft.config import check, compose; check(compose())")
    assert not HEAVY & loaded


def test_importing_touches_no_global_state():
    output_of(f"""
import importlib, logging, os, random, warnings
import lightning.pytorch, numpy, torch, transformers
def state():
    root = logging.getLogger()
    return dict(os.environ), random.getstate(), root.level, list(root.handlers), torch.get_num_threads(), os.getcwd()
before, rng = state(), torch.get_rng_state()
for name in {MODULES!r}:
    importlib.import_module(name)
assert state() == before
assert torch.equal(rng, torch.get_rng_state())
""")
