"""The picture is drawn of whatever there is."""

from __future__ import annotations

import pytest
from matplotlib.image import imread

from llmft.reward.score.picture import draw


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({"reward": [0.0, 1.0, 1.0], "correct": [0.0, 1.0, 1.0], "form": [1.0] * 3}, [0.001, 0.01]),
        ({"reward": [place / 7 for place in range(99)], **{f"p{n}": [n / 3, 1.0] for n in range(6)}}, [2e-6] * 3),
        ({"reward": [0.25]}, []),
        ({"reward": []}, []),
    ],
    ids=["three parts", "many values and parts", "one response", "nothing"],
)
def test_it_is_drawn(tmp_path, values, seconds):
    draw(tmp_path / "a.png", "a.jsonl", values, seconds)
    height, width, _ = imread(tmp_path / "a.png").shape
    panels = sum(bool(some) for some in values.values()) + bool(seconds)
    assert width > 900
    assert (height > 700) == (panels > 4)  # a second row
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
