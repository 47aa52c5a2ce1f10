"""The papers' own experiments: what they were run with, and that each runs, small, without a network."""

from __future__ import annotations

import functools
import socket
from pathlib import Path

import pytest
from lives import train_module
from small_runs import summary

from llmft.config import ROOT, build, check, compose, settings, snapshot
from llmft.config.checks import find_faults
from llmft.config.tree import resolve
from llmft.trainer.metrics import read
from llmft.trainer.start import Start

CONF = ROOT / "conf" / "experiment"
EXPERIMENTS = sorted(str(path.relative_to(CONF).with_suffix("")) for path in CONF.glob("*/*.yaml"))
SHARED = ("luffy/default", "luffy/rl", "exgrpo/default")  # what rows share, and no row
ROWS = [name for name in EXPERIMENTS if name not in SHARED]

# arXiv 2504.14945 and 2510.02245, exp_scripts/ and ExGRPO/exp_scripts/ of github.com/ElliottYan/LUFFY.
EVERYWHERE = {
    "dataset.path": "Elliott/Openr1-Math-46k-8192",
    "rollout.max_new_tokens": 8192,
    "rollout.temperature": 1.0,
    "rollout.top_p": 1.0,
    "rollout.top_k": 0,
    "evaluation.every": 10,
    "evaluation.temperature": 0.6,
    "evaluation.samples": 1,
    "trainer.accelerator": "gpu",
    "trainer.precision": "bf16-mixed",
    "trainer.checkpoint_every": 50,
    "trainer.keep_checkpoints": 2,
    "trainer.max_grad_norm": 1.0,
    "model.dtype": "float32",
    "model.gradient_checkpointing": True,
    "reward.parts.correct._target_": "llmft.reward.math.Math",
    "reward.parts.correct.form": None,
    "reward.parts.correct.after": "</think>",
    "reward.weights": {"correct": 1.0, "form": 0.0},
}
RL = EVERYWHERE | {
    "algorithm.tasks_per_step": 128,
    "algorithm.group_size": 8,
    "algorithm.mini_batches": 128 // 64,
    "algorithm.epochs": 1,
    "algorithm.refills": 0,
    "algorithm.advantage": "group",
    "algorithm.baseline": "union",
    "algorithm.average": "constant",
    "algorithm.length": 8192 * 8,
    "algorithm.mask_truncated": False,
    "algorithm.overlong_buffer": 0.0,
    "algorithm.kl_coef": 0.0,
    "algorithm.entropy_coef": 0.001,
    "algorithm.entropy_average": "token",
    "algorithm.entropy_target": None,
    "algorithm.clip_low": 0.2,
    "algorithm.clip_high": 0.2,
    "optimizer._target_": "torch.optim.AdamW",
    "optimizer.lr": 1e-6,
    "optimizer.betas": [0.9, 0.999],
    "optimizer.weight_decay": 0.01,
    "schedule._target_": "llmft.schedule.constant.Constant",
    "schedule.warmup_steps": 0,
    "trainer.max_steps": 500,
}
LUFFY = RL | {
    "guidance._target_": "llmft.guidance.traces.Traces",
    "guidance.per_group": 1,
    "guidance.prefix": "full",
    "guidance.share": 1.0,
    "guidance.min_reward": None,
    "guidance.behaviour": "one",
    "loss.off_reshape": "gamma",
    "loss.off_gamma": 0.1,
    "loss.on_reshape": "none",
    "loss.off_policy_weight": 1.0,
    "loss.on_policy_weight": 1.0,
    "loss.clip": "never",
    "loss.sft_coef": 0.0,
}
ON_POLICY = RL | {
    "guidance._target_": "llmft.guidance.none.Unguided",
    "loss.on_reshape": "none",
    "loss.clip": "always",
    "loss.sft_coef": 0.0,
}
EXGRPO = LUFFY | {
    "guidance._target_": "llmft.guidance.replay.Replay",
    "guidance.share": 0.5,
    "guidance.start_accuracy": 0.35,
    "guidance.least_solved": 0,
    "guidance.most_solved": None,  # all but one: 7 of 8
    "guidance.buckets": "normal",
    "guidance.deviation": 1.0,
    "guidance.part": "all",
    "guidance.choice": "entropy_original",
    "guidance.pick": "lowest",
    "guidance.correction": "stored",
    "guidance.retire": True,
    "guidance.max_trajectories": None,
    "guidance.max_age": None,
    "loss.clip": "unguided",
    "trainer.max_steps": 500,
    "trainer.skip_grad_norm": 500.0,
}
for one in ("per_group", "prefix", "min_reward", "behaviour"):
    del EXGRPO[f"guidance.{one}"]

MATH_7B = {"model.path": "Elliott/Qwen2.5-Math-7B-16k-think", "model.chat_template": None}
MATH_1_5B = {"model.path": "RoadQAQ/Qwen2.5-Math-1.5B-16k-think", "model.chat_template": None}
INSTRUCT = {"model.path": "Qwen/Qwen2.5-7B-Instruct", "model.chat_template": "conf/model/qwen_think.jinja"}
LLAMA = {
    "model.path": "meta-llama/Llama-3.1-8B",
    "model.chat_template": "conf/model/think_step_by_step.jinja",
    "reward.parts.correct.after": None,
}
PUBLISHED = {
    "luffy/qwen2_5_math_7b": LUFFY | MATH_7B,
    "luffy/qwen2_5_math_1_5b": LUFFY | MATH_1_5B,
    "luffy/qwen2_5_7b_instruct": LUFFY | INSTRUCT,
    "luffy/llama_3_1_8b": LUFFY | LLAMA,
    "luffy/qwen2_5_math_7b_on_policy": ON_POLICY | MATH_7B,
    "luffy/qwen2_5_math_7b_rl_sft_loss": LUFFY
    | MATH_7B
    | {"loss.off_reshape": "none", "loss.sft_coef": 1.0, "algorithm.baseline": "own"},
    "luffy/qwen2_5_math_7b_sft_rl": ON_POLICY
    | {"model.path": "Elliott/Qwen2.5-Math-7B-SFT", "dataset.path": "Elliott/Openr1-Math-48k-Complement"},
    "luffy/qwen2_5_math_7b_sft": EVERYWHERE
    | MATH_7B
    | {
        "algorithm._target_": "llmft.algorithm.sft.SFT",
        "algorithm.tasks_per_step": 64,
        "algorithm.mini_batches": 1,
        "algorithm.max_length": 16384,
        "algorithm.packing": 16384,
        "algorithm.average": "token",
        "optimizer.lr": 5e-5,
        "optimizer.betas": [0.9, 0.95],
        "optimizer.weight_decay": 0.0,
        "schedule._target_": "llmft.schedule.warmup_cosine.WarmupCosine",
        "schedule.warmup_steps": round(0.1 * 3 * 45000 / 64),
        "schedule.final_fraction": 0.1,
        "trainer.max_steps": 3 * 45000 // 64,
    },
    "exgrpo/qwen2_5_math_7b": EXGRPO | MATH_7B | {"trainer.max_steps": 701},
    "exgrpo/qwen2_5_math_1_5b": EXGRPO | MATH_1_5B,
    "exgrpo/qwen2_5_7b_instruct": EXGRPO | INSTRUCT,
    "exgrpo/llama_3_1_8b": EXGRPO | LLAMA | {"guidance.start_accuracy": None},
    "exgrpo/luffy_7b": EXGRPO | {"model.path": "Elliott/LUFFY-Qwen-Math-7B-Zero"},
}


def composed(*overrides: str):
    def trouble(path, node, key, error):
        raise AssertionError(f"{path} has no value: {error}")

    return resolve(compose(overrides), trouble)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_has_no_fault(experiment):
    for more in ([], ["model=tiny", "debug=limit"]):
        assert [str(fault) for fault in find_faults(compose([f"experiment={experiment}", *more]))] == []


def test_every_row_is_in_the_table():
    assert set(PUBLISHED) == set(ROWS)


@pytest.mark.parametrize("experiment", PUBLISHED)
def test_the_values_are_those_that_were_published(experiment):
    cfg = composed(f"experiment={experiment}")
    assert {key: functools.reduce(dict.__getitem__, key.split("."), cfg) for key in PUBLISHED[experiment]} == (
        PUBLISHED[experiment]
    )


def test_what_the_command_line_says_wins():
    cfg = compose(["experiment=luffy/llama_3_1_8b", "model=tiny", "trainer=cpu", "algorithm=luffy_paper", "debug=fdr"])
    assert (cfg.trainer.accelerator, cfg.trainer.max_steps, cfg.evaluation.tasks) == ("cpu", 1, 16)
    assert cfg.model.path == f"bases/{cfg.dataset.base}"
    assert (cfg.algorithm.entropy_coef, cfg.loss.clip) == (0.01, "always")


def test_limit_brings_stand_ins_unless_others_are_typed():
    chosen = ["experiment=luffy/qwen2_5_math_7b", "model=tiny", "debug=limit"]
    cfg = compose(chosen)
    assert (cfg.dataset.path, cfg.trainer.accelerator) == (cfg.dataset.stand_in, "cpu")
    assert (ROOT / cfg.dataset.path / "train.jsonl").is_file()
    typed = compose([*chosen, "trainer=gpu", "dataset.path=mine.jsonl", "trainer.max_steps=3"])
    assert (typed.dataset.path, typed.trainer.accelerator, typed.trainer.max_steps) == ("mine.jsonl", "gpu", 3)


@pytest.mark.parametrize(
    ("model", "start", "prompt"),
    [
        (
            "qwen2_5_7b_instruct",
            (),
            "<|im_start|>system\nThink.<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n<think>\n",
        ),
        ("llama_3_1_8b", (1,), "User: 1+1?\nAnswer: Let's think step by step."),
    ],
)
def test_a_model_lays_a_prompt_out_as_it_was_published(model, start, prompt, tiny_folder):
    tokens = build(compose([f"model={model}", f"model.path={tiny_folder}"]).model).tokens()
    found = tokens.prompt([{"role": "system", "content": "Think."}, {"role": "user", "content": "1+1?"}])
    assert found == (*start, *tokens.response(prompt, end=False))


@pytest.fixture(scope="module")
def train():
    """`train.py` as a module."""
    return train_module()


@pytest.fixture
def two_steps(train, tmp_path, monkeypatch):
    """``two_steps("luffy/...")``: the folder of that experiment's run with model=tiny debug=limit, and no network."""
    from llmft.trainer import curves

    def refuse(self, address):
        raise AssertionError(f"the run wants {address}")

    monkeypatch.setattr(curves, "draw", lambda *_: None)
    monkeypatch.setattr(socket.socket, "connect", refuse)

    def run(experiment: str) -> Path:
        asked = [f"experiment={experiment}", "model=tiny", "debug=limit"]
        cfg = compose(asked)
        check(cfg)
        train.fit(cfg, Start(tmp_path, snapshot(cfg), settings(cfg), tuple(asked), {}, None))
        return tmp_path

    return run


FAST = ("luffy/qwen2_5_math_7b", "exgrpo/qwen2_5_math_7b")


@pytest.mark.parametrize(
    "experiment", [pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow]) for name in ROWS]
)
def test_an_experiment_runs_two_steps(experiment, two_steps):
    folder = two_steps(experiment)
    assert summary(folder)["status"] == "completed"
    rows = read(folder / "metrics.csv")
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert (folder / "final" / "model.safetensors").is_file()
    guided = experiment.startswith("luffy/") and not experiment.endswith(("_on_policy", "_sft", "_sft_rl"))
    assert (rows[-1].get("train/off_policy_share", 0.0) > 0) == guided
