"""What is scored, and with which config."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from llmft.config import ConfigError, compose, settings
from llmft.reward.score.options import config_for, file_and_overrides, out_of, parser


def refused(call, *arguments) -> str:
    with pytest.raises(ConfigError) as error:
        call(*arguments)
    (fault,) = error.value.faults
    return str(fault)


def test_the_file_is_found_among_the_overrides(tmp_path):
    file = tmp_path / "a=b.jsonl"  # looks like an override, and is there
    file.write_text("{}")
    given = ["reward=math", str(file), "~callbacks", "+x=1"]
    assert file_and_overrides(given) == (file, ["reward=math", "~callbacks", "+x=1"])


def test_a_runs_folder_stands_for_its_samples(tmp_path):
    said = refused(file_and_overrides, [str(tmp_path)])
    assert said == f"FILE={tmp_path}: a folder without samples.jsonl; name a run's folder, or a file"
    (tmp_path / "samples.jsonl").write_text("{}")
    assert file_and_overrides([str(tmp_path)]) == (tmp_path / "samples.jsonl", [])


def test_no_file_or_two_are_refused(tmp_path):
    assert refused(file_and_overrides, ["reward=math"]).startswith("FILE: no files are named; name one: python -m")
    assert refused(file_and_overrides, ["a.jsonl", "b.jsonl"]).startswith("FILE=a.jsonl b.jsonl: 2 files are named; ")
    said = refused(file_and_overrides, [str(tmp_path / "none.jsonl")])
    assert said.endswith(": there is no such file; name a .jsonl of responses, or a run's folder")


def test_where_the_scores_go(tmp_path):
    file = tmp_path / "samples.jsonl"
    assert out_of(Namespace(out=None), file) == tmp_path / "samples.scores.jsonl"
    assert out_of(Namespace(out=Path("x.jsonl")), file) == Path("x.jsonl")
    assert refused(out_of, Namespace(out=Path("x.csv")), file).startswith(
        "--out=x.csv: scores are written in JSON lines"
    )
    assert "that is the file that is scored; name another" in refused(out_of, Namespace(out=file), file)


@pytest.mark.parametrize("wrong", [["--limit", "0"], ["--batch", "0"], ["--alone", "-1"], ["--show", "x"]])
def test_numbers_out_of_bounds_are_refused(wrong, capsys):
    with pytest.raises(SystemExit) as left:
        parser(None).parse_intermixed_args(["f.jsonl", *wrong])
    assert left.value.code == 2
    assert wrong[1] in capsys.readouterr().err


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of lab_paths with a reward of its own."""
    from omegaconf import OmegaConf

    folder = tmp_path_factory.mktemp("run")
    cfg = settings(compose(["dataset=lab_paths", "reward.weights.form=0.25", "seed=7"]))
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(cfg)))
    (folder / "samples.jsonl").write_text("{}")
    return folder


def test_a_runs_file_has_the_runs_reward_dataset_and_model(run):
    cfg = config_for(run / "samples.jsonl", [])
    assert cfg.dataset._target_.endswith("paths.Paths")
    assert cfg.reward.weights.form == 0.25
    assert cfg.model.path.startswith("bases/lab_paths")


def test_another_reward_reads_the_runs_dataset(run):
    cfg = config_for(run / "samples.jsonl", ["reward=math", "dataset.train=5", "reward.weights.form=0.5"])
    assert cfg.reward.parts.correct._target_ == "llmft.reward.math.Math"
    assert (
        cfg.reward.parts.correct.form == cfg.dataset.answer_form == compose(["dataset=lab_paths"]).dataset.answer_form
    )
    assert (cfg.dataset.train, cfg.reward.weights.form) == (5, 0.5)


def test_a_dataset_that_is_named_counts(run):
    cfg = config_for(run / "samples.jsonl", ["dataset=lab_addition"])
    assert cfg.dataset._target_.endswith("addition.Addition")
    assert cfg.reward.weights.form == 0.25


def test_any_other_file_has_the_config_of_the_overrides(run, tmp_path):
    assert config_for(run / "others.jsonl", []).dataset._target_.endswith("addition.Addition")
    assert config_for(tmp_path / "samples.jsonl", []).dataset._target_.endswith("addition.Addition")
