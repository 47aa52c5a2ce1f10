"""What a command line that cannot be composed gets: every fault of it, with the nearest name."""

from __future__ import annotations

import pytest

from llmft.config import ConfigError, compose


def faults(*overrides: str, **options) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        compose(overrides, **options)
    return str(refused.value).splitlines()[1:]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("algorithm=grop", "  algorithm=grop: there is no such option; did you mean 'grpo'?"),
        (
            "experiment=luffy/qwen2_5_math_7",
            "  experiment=luffy/qwen2_5_math_7: there is no such option; did you mean 'luffy/qwen2_5_math_7b'?",
        ),
        ("algoritm=grpo", "  algoritm=grpo: there is no such key; did you mean 'algorithm'?"),
        ("sede=1", "  sede=1: there is no such key; did you mean 'seed'?"),
        (
            "algorithm.grup_size=2",
            "  algorithm.grup_size=2: algorithm=grpo has no such key; did you mean 'group_size'?",
        ),
        ("~algorithm.grup_size", "  algorithm.grup_size: algorithm=grpo has no such key; did you mean 'group_size'?"),
        ("hydra.run.dri=x", "  hydra.run.dri=x: there is no such key; did you mean 'dir'?"),
        ("algorithm.clip.low=2", "  algorithm.clip=2: algorithm=grpo has no such key; did you mean 'clip_low'?"),
        (
            "trainer.max_steps=[",
            "  trainer.max_steps=[: cannot be read (no viable alternative at input '['); "
            "write key=value, and quote what is special",
        ),
        (
            "hydra.job.env_set.LD_PRELOAD=x",
            "  hydra.job.env_set: a config may not set this; set variables in your shell",
        ),
    ],
)
def test_one_mistake(override, line):
    assert faults(override) == [line]


def test_an_option_that_is_null():
    (line,) = faults("memory=null")
    assert line == "  memory=null: an option is a name; choose none, as in memory=none"
    (line,) = faults("algorithm=null")
    assert line.startswith("  algorithm=null: an option is a name; there are: ")


def test_all_mistakes_at_once_also_those_that_only_check_would_find():
    lines = faults("sede=1", "algorithm.grup_size=2", "algorithm.group_size=1", "++optimizer.lrr=2", "seed=x")
    assert {line.split(":")[0] for line in lines} == {
        "  sede=1",
        "  algorithm.grup_size=2",
        "  algorithm.group_size=1",
        "  optimizer.lrr=2",
        "  seed=x",
    }


def test_keys_of_an_option_that_is_not_there_are_not_judged():
    lines = faults("algorithm=lufyy", "algorithm.shape=0.1", "reward=exakt", "sede=2")
    assert [line.split(":")[0] for line in lines] == ["  algorithm=lufyy", "  reward=exakt", "  sede=2"]


def test_a_sweep_without_m_keeps_hydras_advice():
    lines = faults("seed=1,2")
    assert "Ambiguous value for argument 'seed=1,2'" in lines[0]
    assert any("multirun" in line for line in lines)


def test_an_experiment_that_asks_for_an_option_that_is_not_there(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /algorithm: grop\n"
    )
    search = f"hydra.searchpath=[file://{tmp_path}]"
    asked = "  algorithm=grop: there is no such option, and one of the chosen files asks for it; did you mean 'grpo'?"
    assert faults(search, "experiment=mine") == [asked]
    assert faults(search, "experiment=mine", "reward=exakt") == [
        "  reward=exakt: there is no such option; did you mean 'exact'?",
        asked,
    ]
    assert faults(search, "experiment=main") == ["  experiment=main: there is no such option; did you mean 'mine'?"]


def test_a_file_that_is_no_yaml(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: [1\n")
    text = "\n".join(faults(f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine"))
    assert "mine.yaml" in text
    assert "line" in text


def test_an_experiment_without_its_first_line_and_one_with_strange_keys(tmp_path):
    from llmft.config.checks import find_faults

    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "bare.yaml").write_text("seed: 3\n")
    (tmp_path / "experiment" / "typos.yaml").write_text("# @package _global_\nsede: 3\nalgorithm:\n  grup_size: 2\n")
    search = f"hydra.searchpath=[file://{tmp_path}]"
    assert [fault.path for fault in find_faults(compose([search, "experiment=bare"]))] == ["experiment"]
    assert [fault.path for fault in find_faults(compose([search, "experiment=typos"]))] == [
        "algorithm.grup_size",
        "sede",
    ]


def test_a_key_that_waits_for_its_value_is_there():
    (line,) = faults("model=hf", "model.path=folder", "sede=1")
    assert line.startswith("  sede=1: ")
