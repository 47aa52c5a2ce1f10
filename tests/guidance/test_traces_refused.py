"""Files of traces that cannot be used, as `train.py` refuses them: at once, and before a weight is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lives import train_module

from llmft.config import ConfigError, check, compose, settings, snapshot
from llmft.trainer.start import Start

ROWS = [{"question": f"{n}+1=", "answer": str(n + 1), "trace": f"#{n + 1}", "probs": [0.5, 0.5, 0.5]} for n in range(8)]
COLUMNS = [
    "dataset=rows",
    "dataset.trace_column=trace",
    "dataset.probs_column=probs",
    "dataset.answer_form='#{answer}'",
    "dataset.heldout=0",
    "reward=exact",
    "evaluation.every=null",
    "rollout.max_new_tokens=16",
    "model=hf",
    "extras.print_config=false",
]


@pytest.fixture
def refused(tmp_path, tiny_folder, monkeypatch):
    """``refused(rows, "guidance.behaviour=given")``: why a run of them is refused."""
    from llmft.model.hf import HF

    monkeypatch.setattr(HF, "load", None)
    train = train_module()

    def attempt(rows: list[dict], *overrides: str) -> str:
        data: Path = tmp_path / "train.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        asked = ["algorithm=luffy", *COLUMNS, f"dataset.path={data}", f"model.path={tiny_folder}", *overrides]
        cfg = compose(asked)
        start = Start(tmp_path / "run", snapshot(cfg), settings(cfg), tuple(asked), {"model": "hf"}, None)
        try:
            check(cfg)
            train.fit(cfg, start)
        except ConfigError as error:
            assert not start.folder.exists()
            return str(error)
        return "not refused"

    return attempt


@pytest.mark.parametrize(
    ("changed", "overrides", "why"),
    [
        (
            {"trace": None},
            (),
            "guidance=traces: none of 8 training tasks has a trace; name the data's column as dataset.trace_column",
        ),
        ({"trace": " "}, (), "dataset.on_bad_row=stop: 8 rows"),
        ({"trace": " "}, (), "train.jsonl:1: 'trace' is empty"),
        ({"trace": [{"role": "assistant", "content": ""}]}, (), "train.jsonl:1: 'trace' is empty"),
        (
            {"trace": "1" * 300},
            (),
            "guidance=traces: a trace of task 'train-1' has 301 tokens and its prompt 5, but the model attends to 256",
        ),
        (
            {"probs": [0.5]},
            ("guidance.behaviour=given",),
            "guidance.behaviour=given: a trace of task 'train-1' has 1 probabilities and, with the end token, 3 tokens",
        ),
        (
            {"probs": None},
            ("guidance.behaviour=given",),
            "guidance.behaviour=given: 8 of 8 traces come without probabilities",
        ),
        ({"probs": ["a"]}, (), "'probs' is not a list of numbers"),
        (
            {"trace": "#0"},
            ("guidance.min_reward=1.0",),
            "guidance.min_reward=1.0: none of the first 8 traces has that reward",
        ),
        ({}, ("guidance.per_group=8",), "guidance.per_group=8: a group has algorithm.group_size=8 places"),
        ({}, ("guidance.prefix=random", "guidance.prefix_min=0.5", "guidance.prefix_max=0.2"), "guidance.prefix_min="),
        ({}, ("guidance.share=0",), "guidance.share=0: it is a share of the tasks with a trace; use more than 0"),
        ({}, ("guidance.prefix_peak=1.5",), "guidance.prefix_peak=1.5: it is a share of a trace's tokens; use 0 to 1"),
        ({}, ("dataset.trace_column=tarce",), "did you mean 'trace'?"),
    ],
)
def test_what_is_wrong_with_traces(changed, overrides, why, refused):
    assert why in refused([{**row, **changed} for row in ROWS], *overrides)
