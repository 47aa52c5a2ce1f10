"""The saved config: it repeats the run, keeps secrets out, and knows whether a continued run is the same."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from llmft.config import compose, differing_keys, settings, snapshot
from llmft.config.checks import find_faults


def test_a_snapshot_composes_to_the_same_settings_and_has_no_fault(tmp_path):
    cfg = compose(["algorithm=dr_grpo", "rollout.max_new_tokens=17", "seed=5", "debug=limit"])
    (tmp_path / "config.yaml").write_text(snapshot(cfg))
    again = compose(config_name="config", config_dir=tmp_path)
    assert settings(again) == settings(cfg)
    assert (again.algorithm.length, again.algorithm.tasks_per_step) == (17, 2)
    assert find_faults(again) == []
    assert snapshot(again) == snapshot(cfg)


def test_it_holds_hydras_patterns_but_not_where_this_run_was(tmp_path):
    saved = OmegaConf.create(snapshot(compose(["ckpt_path=logs/somewhere"])))
    assert OmegaConf.to_container(saved.hydra, resolve=False) == {
        "run": {"dir": "${paths.log_dir}/${task_name}/runs/${now:%Y-%m-%d_%H-%M-%S-%f}"},
        "sweep": {
            "dir": "${paths.log_dir}/${task_name}/multiruns/${now:%Y-%m-%d_%H-%M-%S-%f}",
            "subdir": "${hydra.job.num}",
        },
    }
    assert saved.ckpt_path is None


def test_a_folder_of_ones_own_is_a_pattern_only_if_it_is_one(monkeypatch):
    from hydra.core.hydra_config import HydraConfig

    for given, kept in (("/tmp/mine", "${paths.log_dir}/"), ("mine/${task_name}", "mine/${task_name}")):
        monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
        cfg = compose([rf"hydra.run.dir='{given}'"], with_hydra=True)
        HydraConfig.instance().set_config(cfg)
        saved = OmegaConf.create(snapshot(cfg))
        assert OmegaConf.to_container(saved.hydra, resolve=False)["run"]["dir"].startswith(kept)
        monkeypatch.setattr(HydraConfig.instance(), "cfg", None)


def test_what_came_from_the_environment_stays_there(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    cfg = OmegaConf.create(
        {
            "direct": "${oc.env:SECRET_TOKEN}",
            "with_default": "${oc.env:NOT_SET,'a, b'}",
            "within": "x-${oc.env:SECRET_TOKEN}-y",
            "through": {"another": "${direct}", "deep": ["${within}"]},
            "decoded": "${oc.decode:${oc.env:SECRET_TOKEN}}",
            "escaped": r"costs \${5}",
            "plain": 1,
        }
    )
    text = OmegaConf.to_yaml(OmegaConf.create(settings(cfg)))
    assert "hunter2" not in text
    again = OmegaConf.create(text)
    for key in ("direct", "with_default", "within", "decoded", "escaped", "plain"):
        assert again[key] == cfg[key], key
    assert again.through.another == "hunter2"
    assert again.through.deep[0] == "x-hunter2-y"
    assert again.with_default == "a, b"
    assert again.escaped == "costs ${5}"
    assert cfg.direct == "hunter2"  # the resolver is back in its place
    monkeypatch.setenv("SECRET_TOKEN", "other")
    assert again.direct == "other"


SAVED = {"seed": 1, "trainer": {"max_steps": 10, "micro_batch": 4}, "tags": ["a"], "memory": {}}


@pytest.mark.parametrize(
    ("now", "keys"),
    [
        ({}, []),
        ({"seed": 2}, ["seed"]),
        ({"trainer": {"max_steps": 20, "micro_batch": 4}}, []),
        ({"trainer": {"max_steps": 5, "micro_batch": 4}}, ["trainer.max_steps"]),
        ({"trainer": {"max_steps": 20, "micro_batch": 2}, "tags": []}, ["tags", "trainer.micro_batch"]),
        ({"trainer": {"max_steps": 10}}, ["trainer.micro_batch"]),
        ({"memory": {"size": 1}}, ["memory.size"]),
        ({"seed": 2, "resume": {"allow": ["seed"]}}, []),
        ({"seed": 2, "tags": [], "resume": {"allow": ["seed"]}}, ["tags"]),
        ({"trainer": {"max_steps": 5, "micro_batch": 2}, "resume": {"allow": ["trainer"]}}, []),
        ({"trainer": {"max_steps": 10, "micro_batch": 2}, "resume": {"allow": ["train"]}}, ["trainer.micro_batch"]),
        ({"ckpt_path": "somewhere", "hydra": {"run": {"dir": "x"}}}, []),
    ],
)
def test_what_differs(now, keys):
    assert differing_keys(SAVED, {**SAVED, **now}) == keys
