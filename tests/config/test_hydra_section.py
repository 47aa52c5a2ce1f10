"""Hydra acts on its own section before a job could object; what a config may not ask of it is refused before."""

from __future__ import annotations

import sys

import pytest

from llmft.config import ConfigError, compose
from llmft.config.composition import limited


def refused(*overrides: str, **options) -> str:
    with pytest.raises(ConfigError) as error:
        compose(overrides, **options)
    return str(error.value)


@pytest.fixture
def conf(tmp_path):
    """``conf(text)``: overrides that make a file with this text part of the composition."""

    def write(text: str) -> list[str]:
        (tmp_path / "experiment").mkdir(exist_ok=True)
        (tmp_path / "experiment" / "theirs.yaml").write_text("# @package _global_\n" + text)
        return [f"hydra.searchpath=[file://{tmp_path}]", "experiment=theirs"]

    return write


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("hydra: {job: {env_set: {LD_PRELOAD: evil.so}}}", "hydra.job.env_set"),
        ("hydra: {callbacks: {one: {_target_: os.system}}}", "hydra.callbacks"),
        ("hydra: {launcher: {_target_: os.system}}", "hydra.launcher._target_"),
        ("hydra: {sweeper: {_target_: evil.Sweeper}}", "hydra.sweeper._target_"),
        (
            "defaults: [override /hydra/launcher: submitit_slurm]\nhydra: {launcher: {setup: [rm -rf /]}}",
            "hydra.launcher.setup",
        ),
        ("hydra: {run: {dir: ../../elsewhere}}", "hydra.run.dir"),
        ("task_name: ../../elsewhere", "hydra.run.dir"),
        ("paths: {log_dir: logs/../..}", "hydra.sweep.dir"),
        ("hydra: {sweep: {subdir: '../${hydra.job.num}'}}", "hydra.sweep.subdir"),
        ("hydra: {output_subdir: ../..}", "hydra.output_subdir"),
        ("hydra: {job: {name: ../../x}}", "hydra.job.name"),
        ("hydra: {job_logging: {handlers: {file: {'()': os.system}}}}", "hydra.job_logging.handlers.file.()"),
        ("hydra: {job_logging: {handlers: {file: {class: evil.Handler}}}}", "hydra.job_logging.handlers.file.class"),
        ("hydra: {job_logging: {handlers: {file: {filename: /etc/x}}}}", "hydra.job_logging.handlers.file.filename"),
        (
            "hydra: {job_logging: {handlers: {file: {filename: '${hydra.runtime.output_dir}/../x.log'}}}}",
            "hydra.job_logging.handlers.file.filename",
        ),
        ("hydra: {hydra_logging: {handlers: {console: {filename: x.log}}}}", "hydra.hydra_logging.handlers.console"),
        (
            "hydra: {hydra_logging: {handlers: {console: {filename: '${hydra.runtime.output_dir}/x.log'}}}}",
            "hydra.hydra_logging.handlers.console.filename",
        ),
        ("hydra: {hydra_logging: {handlers: {console: {stream: 'ext://evil.x'}}}}", "hydra.hydra_logging.handlers"),
        ("evil: 'ext://evil.x'\nhydra: {hydra_logging: {root: {level: '${evil}'}}}", "hydra.hydra_logging.root.level"),
    ],
)
def test_what_a_file_may_not_ask_of_hydra(conf, text, path):
    message = refused(*conf(text))
    assert f"\n  {path}" in message
    assert "evil" not in sys.modules


def test_hydras_own_configs_pass(conf):
    compose(with_hydra=True)
    compose(["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"])
    compose(["hydra/job_logging=disabled"])
    compose(conf("hydra: {run: {dir: /somewhere/else}, job_logging: {root: {level: DEBUG}}}"))


def test_what_is_typed_is_the_users_own_doing(conf):
    compose(["hydra.run.dir=../here"])
    compose(["hydra/launcher=submitit_slurm", "+hydra.launcher.setup=[module load cuda]"])
    assert "env_set" in refused("+hydra.job.env_set.X=1")
    # a file cannot claim that something was typed
    assert "hydra.run.dir" in refused(*conf("hydra: {run: {dir: ../x}, overrides: {hydra: ['hydra.run.dir=../x']}}"))


def test_a_saved_config_may_not_name_a_package_to_search(tmp_path, monkeypatch):
    mark = tmp_path / "ran"
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "__init__.py").write_text(f"open({str(mark)!r}, 'w')\n")
    (tmp_path / "config.yaml").write_text("hydra: {searchpath: ['pkg://evil']}\n")
    monkeypatch.syspath_prepend(tmp_path)
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    from llmft.config.composition import guarded

    with guarded(), initialize_config_dir(version_base="1.3", config_dir=str(tmp_path)):
        with pytest.raises(ConfigError, match="would import a package that was not allowed"):
            hydra_compose("config")
        assert not mark.exists()
        monkeypatch.setenv("LLMFT_TARGETS", "evil.")
        hydra_compose("config")
    assert mark.exists()


def test_limits_are_the_most_that_a_value_may_be():
    from omegaconf import OmegaConf

    cfg = OmegaConf.create(
        {
            "a": {"big": 8, "small": 1, "none": None, "follows": "${a.big}", "missing": "???"},
            "limits": {"a.big": 2, "a.small": 2, "a.none": 2, "a.follows": 1, "a.missing": 2, "a.other": 2, "b.c": 2},
        }
    )
    OmegaConf.set_struct(cfg, True)
    node = limited(cfg.copy()).a
    assert (node.big, node.small, node.none, node.follows) == (2, 1, 2, 2)
    assert OmegaConf.is_missing(node, "missing")
    assert list(node) == ["big", "small", "none", "follows", "missing"]
    typed = limited(cfg.copy(), ["++a.big=8", "a.none=null"])
    assert (typed.a.big, typed.a.none, typed.limits) == (8, None, {})


def test_stand_ins_take_the_place_of_values():
    from omegaconf import OmegaConf

    cfg = OmegaConf.create(
        {
            "a": {"path": "hub/name", "stand_in": "examples", "none": None, "missing": "???"},
            "b": {"path": "hub/name", "stand_in": None},
            "c": {"path": "hub/name"},
            "stand_ins": {
                **{f"{group}.path": f"${{{group}.stand_in}}" for group in "abcd"},
                "a.missing": "given",
                "a.none": "given",
                "a.other": "given",
            },
        }
    )
    OmegaConf.set_struct(cfg, True)
    replaced = limited(cfg.copy())
    assert [replaced[group].path for group in "abc"] == ["examples", "hub/name", "hub/name"]
    assert (replaced.a.missing, replaced.a.none, list(replaced.a)) == ("given", "given", list(cfg.a))
    assert replaced.stand_ins == {}
    assert set(replaced) == set(cfg)
    assert limited(cfg.copy(), ["a.path=mine"]).a.path == "hub/name"
