"""`train.py` end to end, on a random model of 20 thousand parameters: the run folder, repeating, continuing, refusing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lives import train_module
from omegaconf import OmegaConf
from small_runs import KINDS, SMALL, summary, timeless, weights

from llmft.config import ConfigError, Stop, check, compose, settings, snapshot
from llmft.trainer import shelf
from llmft.trainer.metrics import read
from llmft.trainer.start import Start


@pytest.fixture(scope="session")
def train():
    """`train.py` as a module."""
    return train_module()


@pytest.fixture
def run(train, tiny_folder, monkeypatch):
    """``run(folder, "sft", "trainer.max_steps=5")``: the objective of a run in this process."""
    from llmft.trainer import curves

    def job(folder: Path, kind: str | None, *overrides: str, config: Path | None = None, picture=False) -> float:
        if not picture:
            monkeypatch.setattr(curves, "draw", lambda *_: None)
        if config is None:
            asked = [*SMALL, f"model.path={tiny_folder}", *KINDS[kind], *overrides]
            cfg = compose(asked)
        else:
            asked = list(overrides)
            cfg = compose(asked, "config", config)
        check(cfg)
        folder.mkdir(exist_ok=True)
        start = Start(folder, snapshot(cfg), settings(cfg), tuple(asked), {"model": "hf"}, config)
        return train.fit(cfg, start)

    return job


def test_the_run_folder_is_complete(run, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path / "run"
    value = run(folder, "sft", picture=True)
    assert {path.name for path in folder.iterdir() if path.name != ".lock"} == {
        "config.yaml", "manifest.json", "metrics.csv", "summary.json", "curves.png", "samples.jsonl", "checkpoints",
        "final",
    }  # fmt: skip

    rows = read(folder / "metrics.csv")
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert {"train/loss", "train/perplexity", "train/grad_norm", "train/lr", "time/update_s"} <= rows[1].keys()
    assert ["heldout/perplexity" in row for row in rows] == [True, False, True, True]
    assert value == rows[-1]["heldout/perplexity"] < rows[0]["heldout/perplexity"]

    told = summary(folder)
    assert (told["status"], told["objective"]) == ("completed", {"name": "heldout/perplexity", "value": value})
    assert told["after"]["heldout/perplexity"] == value
    assert told["peak_memory_bytes"] > 1e8
    assert told["seconds"]["time/step_s"] > 0

    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["task_name"] == "train"
    assert "algorithm=sft" in manifest["overrides"]
    assert len(manifest["files"]["model"]["model.safetensors"]) == 64
    assert manifest["files"]["data"]
    assert {"seed", "choices", "code", "versions", "device", "threads", "parent_run"} <= manifest.keys()

    lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert {line["step"] for line in lines} == {1, 2, 3}
    assert {part["author"] for line in lines for part in line["tokens"]} == {"trace"}

    model, tokenizer = (cls.from_pretrained(folder / "final") for cls in (AutoModelForCausalLM, AutoTokenizer))
    assert tokenizer.decode(tokenizer("12+34=").input_ids) == "12+34="
    assert model.num_parameters() > 10_000
    assert [shelf.step_of(one) for one in shelf.listed(folder / "checkpoints")][:2] == [3, 2]
    assert not OmegaConf.select(OmegaConf.load(folder / "config.yaml"), "ckpt_path")


def test_a_saved_config_repeats_the_run_to_the_bit(run, tmp_path):
    run(tmp_path / "one", "grpo")
    run(tmp_path / "two", None, config=tmp_path / "one")
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    assert timeless(tmp_path / "one") == timeless(tmp_path / "two")
    assert (tmp_path / "one" / "samples.jsonl").read_bytes() == (tmp_path / "two" / "samples.jsonl").read_bytes()
    assert (tmp_path / "one" / "config.yaml").read_text() == (tmp_path / "two" / "config.yaml").read_text()


def test_gold_answers_that_the_reward_refuses_are_found_before_training(run, tmp_path):
    with pytest.raises(ConfigError, match=r"reward\.validate=true: the data's own answers to \d+ of 96 tasks do not"):
        run(tmp_path / "run", "grpo", "reward.validate=true", "dataset.wrong_traces=0.3")
    assert not list((tmp_path / "run").iterdir())


def test_another_seed_is_another_run(run, tmp_path):
    run(tmp_path / "one", "grpo")
    run(tmp_path / "two", "grpo", "seed=2")
    assert weights(tmp_path / "one") != weights(tmp_path / "two")


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_more_steps_go_on_in_place(kind, run, tmp_path):
    """Up to the larger number, as a run that had it from the start (with a constant learning rate)."""
    run(tmp_path / "whole", kind, "trainer.max_steps=4")
    folder = tmp_path / "run"
    run(folder, kind, "trainer.max_steps=2")
    run(folder, kind, "trainer.max_steps=4", f"ckpt_path={folder}")
    assert weights(folder) == weights(tmp_path / "whole")
    assert timeless(folder) == timeless(tmp_path / "whole")
    resumed = json.loads((folder / "manifest.json").read_text())["resumed"]
    assert [(one["from_step"], one["changed"]) for one in resumed] == [(2, ["trainer.max_steps"])]


def test_a_finished_run_reports(run, tmp_path):
    folder = tmp_path / "run"
    value = run(folder, "sft")
    before = (folder / "summary.json").read_bytes()
    assert run(folder, "sft", f"ckpt_path={folder}") == value
    assert (folder / "summary.json").read_bytes() == before


def test_another_config_is_refused_with_its_keys(run, tmp_path, record_property):
    folder = tmp_path / "run"
    run(folder, "sft", "trainer.max_steps=1")
    changed = ["optimizer.lr=0.5", "seed=7", "trainer.max_steps=2", f"ckpt_path={folder}"]
    with pytest.raises(Stop, match=r"optimizer\.lr was .*, is 0\.5; seed was 1, is 7") as stop:
        run(folder, "sft", *changed)
    assert stop.value.code == 2
    with pytest.raises(Stop, match=r"resume\.allow=\[seed\]"):
        run(folder, "sft", *changed, "resume.allow=[optimizer]")
    run(folder, "sft", *changed, "resume.allow=[optimizer,seed]")
    assert summary(folder)["step"] == 2
    record_property("11", "config: refused with exit 2, the differing files or keys listed")


def test_a_folder_with_a_run_is_refused(run, tmp_path):
    run(tmp_path / "run", "sft", "trainer.max_steps=1")
    with pytest.raises(Stop, match=r"hydra\.run\.dir=.*: a run is there already") as stop:
        run(tmp_path / "run", "sft", "trainer.max_steps=1")
    assert stop.value.code == 2


def test_another_model_is_refused(run, tmp_path, tiny_folder, record_property):
    import shutil

    folder, model = tmp_path / "run", tmp_path / "model"
    shutil.copytree(tiny_folder, model)
    run(folder, "sft", "trainer.max_steps=1", f"model.path={model}")
    (model / "generation_config.json").write_text("{}")
    with pytest.raises(Stop, match=r"not the files .* model: generation_config\.json"):
        run(folder, "sft", "trainer.max_steps=2", f"model.path={model}", f"ckpt_path={folder}")
    record_property("11", "model: refused with exit 2, the differing files or keys listed")


def test_what_is_wrong_is_told_before_a_weight_is_read(run, tmp_path, monkeypatch):
    from llmft.model.hf import HF

    monkeypatch.setattr(HF, "load", None)
    with pytest.raises(ConfigError) as refused:
        run(tmp_path / "run", "grpo", "rollout.max_new_tokens=300")
    assert "rollout.max_new_tokens=300: the model attends to 256 tokens" in str(refused.value)
    with pytest.raises(ConfigError) as refused:
        run(tmp_path / "run", "sft", "model.path=nowhere", "reward.success_part=more")
    for fault in ("model.path=nowhere: no such folder", "reward.success_part=more: no such part"):
        assert fault in str(refused.value)
    assert not (tmp_path / "run" / "manifest.json").exists()
