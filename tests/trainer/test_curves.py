"""The picture of a run."""

from __future__ import annotations

from llmft.trainer.curves import draw


def test_a_picture_is_made_of_whatever_was_logged(tmp_path):
    draw([{"step": 1, "train/loss": 1.0}], tmp_path / "one.png", "one row")
    rows = [{"step": step, "train/loss": 1 / step, "train/accuracy": 0.5, "time/step_s": 1.0} for step in range(1, 99)]
    rows[0]["heldout/accuracy"] = float("nan")
    rows[9]["heldout/accuracy"] = 0.7
    draw(rows, tmp_path / "many.png", "many rows")
    for name in ("one.png", "many.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 2


def test_no_picture_of_nothing(tmp_path):
    draw([{"step": 1, "time/step_s": 1.0}], tmp_path / "none.png", "none")
    assert list(tmp_path.iterdir()) == []
