"""Every mistake that stock Hydra lets through, and what is said of it."""

from __future__ import annotations

import sys

import pytest
from omegaconf import OmegaConf

from llmft.config import ConfigError, build, check
from llmft.config.checks import find_faults

# What stock Hydra 1.3.8 still executes or imports, beside what it blocks by itself.
PAYLOADS = [
    "torch.load",
    "pandas.read_pickle",
    "joblib.load",
    "numpy.load",
    "sympy.sympify",
    "torch.utils.collect_env.run",
    "torch.hub.load",
    "transformers.AutoConfig.from_pretrained",
    "transformers.AutoModelForCausalLM",
    "site.addsitedir",
    "webbrowser.GenericBrowser.open",
    "webbrowser.GenericBrowser",
    "antigravity.geohash",
    "this.s",
    "pathlib.Path.write_text",
    "builtins.open",
    "builtins.exec",
    "logging.FileHandler",
    "logging.os.system",
    "os.system",
    "subprocess.Popen",
    "pickle.loads",
    "runpy.run_path",
    "ctypes.CDLL",
    "hydra.utils.get_method",
    "hydra.utils.instantiate",
    "importlib.import_module",
    # out of what is allowed, by a path through it
    "llmft",
    "llmft.",
    "llmft..config",
    "llmft.config.__init__",
    "llmft.__builtins__",
    "llmft.config.checks.__loader__",
    "llmft.config.checks._Checker",
    "llmft._hidden.Class",
    "llmfty.Class",
    "xllmft.Class",
    " llmft.seeds.Seeds",
    "llmft.seeds.Seeds\n",
    "llmft.seeds.Seeds()",
    "torch.optim.adamw.AdamW",
    "torch.optim.AdamW.load_state_dict",
    "lightning.pytorch.callbacks.ModelCheckpoint",
    5,
    None,
    ["llmft.seeds.Seeds"],
]
ALIASES = [
    "llmft.config.allow.os.system",
    "llmft.config.allow.import_module",
    "toys.system",
    "toys.Path",
    "toys.function",
]
PLACES = {
    "a group": lambda node: {"schedule": node},
    "a part of a part": lambda node: {"reward.parts.evil": node},
    "a list in a part": lambda node: {"reward.parts.one.scale": [1, [node]]},
    "a named part": lambda node: {"callbacks.evil": node},
    "a list under an unknown key": lambda node: {"extra": [1, {"deep": [node]}]},
    "an unknown key": lambda node: {"extra": {"deep": node}},
    "a known part, in place of a value": lambda node: {"algorithm.size": node},
    "a partial": lambda node: {"optimizer": {"_partial_": True, **node}},
}


def lines(cfg) -> list[str]:
    return [str(fault) for fault in find_faults(cfg)]


def test_a_sound_config_passes(config):
    check(config())


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"sede": 1}, "sede=1: there is no such key; did you mean 'seed'?"),
        ({"algoritm": {"size": 2}}, "algoritm: there is no such key; did you mean 'algorithm'?"),
        (
            {"experiment": {"seed": 2}},
            "experiment: the file in conf/experiment/ does not say where its keys belong; "
            "let its first line be `# @package _global_`",
        ),
        ({"seed": "abc"}, "seed=abc: expected int, got str; give a value of that type"),
        ({"seed": -1}, "seed=-1: a seed is a natural number; use 0 or more"),
        ({"tags": "dev"}, "tags=dev: expected list[str], got str; give a value of that type"),
        ({"tags": []}, "tags=[]: extras.enforce_tags wants at least one; give some: tags=[mine]"),
        ({"extras.print_confg": True}, "extras.print_confg=true: there is no such key; did you mean 'print_config'?"),
        ({"algorithm.size": "eight"}, "algorithm.size=eight: expected int, got str; give a value of that type"),
        ({"algorithm.size": "8"}, "algorithm.size=8: expected int, got str; give a value of that type"),
        ({"algorithm.size": 8.0}, "algorithm.size=8.0: expected int, got float; give a value of that type"),
        ({"algorithm.size": True}, "algorithm.size=true: expected int, got bool; give a value of that type"),
        ({"algorithm.size": None}, "algorithm.size=null: expected int, got null; give a value of that type"),
        ({"algorithm.size": 1}, "algorithm.size=1: one is none; use 2 or more"),
        ({"algorithm.rate": 0}, "algorithm.rate=0: expected greater than 0; change it"),
        ({"algorithm.rate": "NaN"}, "algorithm.rate=NaN: expected float, got str; give a value of that type"),
        ({"algorithm.mode": "frist"}, "algorithm.mode=frist: expected 'first' or 'all'; did you mean 'first'?"),
        ({"algorithm.limit": "x"}, "algorithm.limit=x: expected int or null, got str; give a value of that type"),
        ({"algorithm.names": ["a", 1]}, "algorithm.names.1=1: expected a valid string; change it"),
        ({"algorithm.both": 1.5}, "algorithm.both=1.5: expected int or str, got float; give a value of that type"),
        ({"algorithm.siez": 3}, "algorithm.siez=3: toys.Many takes no 'siez'; remove it"),
        ({"reward.parts.one.scal": 3}, "reward.parts.one.scal=3: toys.Term takes no 'scal'; remove it"),
        ({"reward.parts.one.scale": "x"}, "reward.parts.one.scale=x: expected float, got str; give a value of that type"),
        ({"algorithm.size": "???"}, "algorithm.size=???: it has no default; give it on the command line: algorithm.size=..."),
        (
            {"schedule": {"_target_": "toys.Term", "scale": "${nowhere.at.all}"}},
            "schedule.scale=${nowhere.at.all}: cannot be resolved (Interpolation key 'nowhere.at.all' not found); "
            "give it a value",
        ),
        ({"schedule._target_": "toys.Plian"}, "schedule._target_=toys.Plian: toys has no 'Plian'; did you mean 'Plain'?"),
        (
            {"schedule._target_": "llmft.config.shcema.Train"},
            "schedule._target_=llmft.config.shcema.Train: there is no module 'llmft.config.shcema'; "
            "did you mean 'llmft.config.schema'?",
        ),
        (
            {"schedule": {"_target_": "toys.Loose", "size": 1, "sizee": 2}},
            "schedule._target_=toys.Loose: takes **kwargs, so that a misspelt argument is lost; "
            "wrap it in a class with named arguments",
        ),
        ({"reward": "coding"}, "reward=coding: a whole group cannot be one value; a saved config has no groups to choose "
         "from: leave --config-name out, or set single values, reward.KEY="),
        ({"callbacks.lr": {"every": 1}}, "callbacks.lr={\"every\": 1}: no part: it has no _target_; see conf/callbacks"),
        ({"objective": "heldout/acuracy"}, "objective=heldout/acuracy: no metric has this name; did you mean "
         "'heldout/accuracy'?"),
        ({"objective": "accuracy"}, "objective=accuracy: no metric has this name; for example heldout/accuracy"),
        ({"quantization": {"_target_": "toys.Plain"}}, "quantization: quantized weights cannot be trained, and "
         "adapter=none; add adapter=lora, or choose quantization=none"),
    ],
)  # fmt: skip
def test_one_mistake_one_line(config, changes, fault):
    assert lines(config(changes)) == [fault]


def test_groups_name_their_options(config):
    assert lines(config({"algorithm": {}}))[0].startswith(
        "algorithm: empty, and a run needs one; choose one: algorithm="
    )
    assert lines(config({"algorithm": {"size": 2}}))[0].startswith(
        "algorithm: no part: it has no _target_; choose one: "
    )


def test_a_missing_argument_and_its_misspelling(config):
    assert lines(config({"algorithm.size": config.remove, "algorithm.siez": 3})) == [
        "algorithm.siez=3: toys.Many takes no 'siez'; did you mean 'size'?",
        "algorithm.size: toys.Many needs it; give it a value",
    ]


def test_a_missing_key_of_the_top_level(config):
    assert lines(config({"seed": config.remove})) == ["seed: missing; give it a value"]


def test_a_partial_node_is_bound_without_being_called(config):
    node = {"_target_": "toys.Term", "_partial_": True}
    check(config({"optimizer": node}))
    assert lines(config({"optimizer": {**node, "scal": 1.0}})) == [
        "optimizer.scal=1.0: toys.Term takes no 'scal'; did you mean 'scale'?"
    ]


def test_a_librarys_defaults_may_stand(config):
    check(config({"optimizer": {"_target_": "toys.Library"}}))
    assert lines(config({"schedule": {"_target_": "toys.Library"}})) == [
        "schedule.params: toys.Library needs it; give it a value"
    ]


def test_what_fits_an_annotation(config):
    check(config({"algorithm.rate": 1}))  # an int is a float
    check(config({"algorithm.rate": 1e-4, "algorithm.limit": 3, "algorithm.both": "x", "algorithm.names": []}))
    check(OmegaConf.merge(config(), OmegaConf.create("algorithm: {rate: 1e-4}")))


def test_a_rollout_that_needs_a_memory(config):
    needy = {"_target_": "toys.Searching", "top_k": 3}
    (line,) = lines(config({"rollout": needy}))
    assert line.startswith("rollout: toys.Searching needs a memory, but memory=none; choose one: ")
    check(config({"rollout": needy, "memory": {"_target_": "toys.Plain"}}))
    check(config({"rollout": {"_target_": "toys.Remembering"}}))


def test_what_stands_beside_is_given_to_the_parts_that_ask_for_it(config):
    using = {"_target_": "toys.Using", "scale": 1.0}
    sharing = {"_target_": "toys.Sharing", "parts": {"one": using}, "term": {"_target_": "toys.Term", "scale": 2.0}}
    assert lines(config({"reward": sharing})) == []
    assert lines(config({"reward": {**sharing, "term": None}})) == [
        "reward.parts.one.term: toys.Using needs it; give it a value"
    ]


def test_live_objects_are_those_of_the_group(config):
    assert lines(config({"schedule": {"_target_": "toys.Searching", "top_k": 3}})) == [
        "schedule.memory: toys.Searching needs it; give it a value",
        "schedule.tokens: toys.Searching needs it; give it a value",
    ]
    nested = {"_target_": "toys.Searching", "top_k": 3, "tokens": 1}
    assert lines(config({"reward.parts.two": nested})) == [
        "reward.parts.two.memory: toys.Searching needs it; give it a value"
    ]


def test_nodes_in_a_node_get_what_is_live_in_its_group(config):
    """A rollout is handed tokens and a memory, and so is what stands in it."""
    holder = {"_target_": "toys.Sum", "weights": {}, "parts": {"in": {"_target_": "toys.Searching", "top_k": 3}}}
    check(config({"rollout": holder, "memory": {"_target_": "toys.Plain"}}))
    (line,) = lines(config({"rollout": holder}))
    assert line.startswith("rollout.parts.in: toys.Searching needs a memory, but memory=none")
    assert lines(config({"schedule": holder})) == [
        "schedule.parts.in.memory: toys.Searching needs it; give it a value",
        "schedule.parts.in.tokens: toys.Searching needs it; give it a value",
    ]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"algorithm": {"_target_": "toys.Plain", "mini_batches": 3, "tasks_per_step": 2}},
            "algorithm.mini_batches=3: a step has algorithm.tasks_per_step=2 tasks to share out; use at most that",
        ),
        (
            {"algorithm": {"_target_": "toys.Plain", "average": "constant", "length": None}},
            "algorithm.length=null: algorithm.average=constant divides by it; "
            "give a number of tokens, for instance the longest response allowed",
        ),
        (
            {"evaluation": {"_target_": "toys.Plain", "k": [1, 4], "samples": 2}},
            "evaluation.k=[1, 4]: pass@4 cannot be estimated from evaluation.samples=2; "
            "use 1 or more, and at most as many as there are samples",
        ),
    ],
)
def test_rules_within_a_group(config, changes, fault):
    assert fault in lines(config(changes))


def test_what_the_rules_let_pass(config):
    part = {"_target_": "toys.Plain"}
    check(config({"quantization": part, "adapter": part}))
    check(config({"algorithm": part}))
    sizes = {"mini_batches": 2, "tasks_per_step": 2, "average": "constant", "length": 5, "k": [2], "samples": 2}
    got = lines(config({"algorithm": {**part, **sizes}, "evaluation": {**part, **sizes}}))
    assert all("toys.Plain takes no" in line for line in got)
    check(config({"extras.enforce_tags": False, "tags": []}))


def test_all_faults_at_once_in_the_order_of_the_keys(config):
    with pytest.raises(ConfigError) as refused:
        check(
            config(
                {
                    "sede": 1,
                    "algorithm.size": 1,
                    "algorithm.rate": "abc",
                    "algorithm.moed": "all",
                    "reward.parts.one._target_": "os.system",
                    "model._target_": "toys.Modle",
                    "seed": "x",
                }
            )
        )
    message = str(refused.value).splitlines()
    assert message[0] == "7 faults in the config:"
    assert [line.split("=")[0].strip() for line in message[1:]] == [
        "model._target_",
        "algorithm.size",
        "algorithm.rate",
        "algorithm.moed",
        "reward.parts.one._target_",
        "seed",
        "sede",
    ]


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("payload", PAYLOADS, ids=repr)
def test_a_target_that_is_not_allowed_is_refused_without_an_import(config, payload, place):
    before = set(sys.modules)
    cfg = config(place({"_target_": payload}))
    faults = find_faults(cfg)
    assert [fault for fault in faults if fault.path.endswith("_target_")]
    root = str(payload).split(".")[0].strip()
    assert not {name for name in set(sys.modules) - before if name.split(".")[0] == root and root != "llmft"}
    with pytest.raises(ValueError, match=r"target|no class|import"):
        build({"_target_": payload})


@pytest.mark.parametrize("alias", ALIASES)
def test_what_an_allowed_module_merely_holds_is_not_its_own(config, alias):
    assert lines(config({"schedule": {"_target_": alias}}))[0].startswith(f"schedule._target_={alias}: ")
    with pytest.raises(ValueError, match=r"no class|no module"):
        build({"_target_": alias})


def test_a_refused_module_never_runs(config, tmp_path, monkeypatch):
    mark = tmp_path / "ran"
    (tmp_path / "wicked.py").write_text(f"open({str(mark)!r}, 'w')\nclass Evil: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    for place in PLACES.values():
        with pytest.raises(ConfigError, match="a config may not name this, so it was not imported"):
            check(config(place({"_target_": "wicked.Evil"})))
    assert not mark.exists()
    assert "wicked" not in sys.modules
    monkeypatch.setenv("LLMFT_TARGETS", "toys.,wicked.Evil")  # a person's own decision
    check(config({"schedule": {"_target_": "wicked.Evil"}}))
    assert mark.exists()


def test_the_environment_adds_whole_names_or_packages_and_nothing_by_accident(config, monkeypatch):
    for value in ("", ",", ".", " . ,", "toy", "toys", "toys.Plai"):
        monkeypatch.setenv("LLMFT_TARGETS", value)
        assert "may not name" in lines(config())[0]
    monkeypatch.setenv("LLMFT_TARGETS", " toys. , other.")
    check(config())


def test_many_targets_are_looked_at_fast(config):
    import time

    cfg = config({"reward.parts": {f"part{i}": {"_target_": "os.system"} for i in range(400)}})
    start = time.perf_counter()
    assert len(find_faults(cfg)) == 400
    assert time.perf_counter() - start < 2.0
