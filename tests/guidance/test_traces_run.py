"""Runs with traces, from config to weights: one that is continued ends as one that was not."""

from __future__ import annotations

import pytest
from lives import train_module
from small_runs import SMALL, timeless, weights

from llmft.config import check, compose, settings, snapshot
from llmft.trainer.metrics import read
from llmft.trainer.start import Start

LUFFY = ["algorithm=luffy", "algorithm.tasks_per_step=2", "algorithm.group_size=3", "algorithm.mini_batches=1"]
PLACED = {
    "whole": [],
    "half of it": ["guidance.prefix=fixed", "guidance.prefix_max=0.5"],
    "less and less": ["guidance.prefix=linear", "guidance.prefix_steps=4", "guidance.prefix_peak=1.0"],
    "the right ones, by chance": ["guidance.per_group=2", "guidance.which=random", "guidance.min_reward=1.0"],
}


@pytest.fixture
def run(tiny_folder, monkeypatch):
    from llmft.trainer import curves

    monkeypatch.setattr(curves, "draw", lambda *_: None)
    train = train_module()

    def job(folder, *overrides: str):
        asked = [*SMALL, f"model.path={tiny_folder}", *LUFFY, *overrides]
        cfg = compose(asked)
        check(cfg)
        folder.mkdir(exist_ok=True)
        train.fit(cfg, Start(folder, snapshot(cfg), settings(cfg), tuple(asked), {"model": "hf"}, None))
        return read(folder / "metrics.csv")[1:]

    return job


SLOW = ("whole", "half of it")


@pytest.mark.parametrize(
    "placed", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in PLACED]
)
def test_a_run_with_traces_goes_on_in_place(placed, run, tmp_path):
    rows = run(tmp_path / "whole", *PLACED[placed], "trainer.max_steps=4")
    folder = tmp_path / "run"
    run(folder, *PLACED[placed], "trainer.max_steps=2")
    run(folder, *PLACED[placed], "trainer.max_steps=4", f"ckpt_path={folder}")
    assert weights(folder) == weights(tmp_path / "whole")
    assert timeless(folder) == timeless(tmp_path / "whole")

    given = [row["guidance/given_tokens"] for row in rows]
    shares = [row["train/off_policy_share"] for row in rows]
    if placed == "less and less":
        assert given == sorted(given, reverse=True)
        assert given[0] > given[-1] > 0
        assert shares[0] > shares[-1] > 0
    else:
        assert all(0 < share < 1 for share in shares)
    assert [row["guidance/guided"] for row in rows] == [1.0] * 4
