"""The table of a run."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from llmft.trainer.metrics import MetricsLog, read


def test_columns_appear_when_a_metric_does(tmp_path):
    log = MetricsLog(tmp_path / "metrics.csv")
    log.add(0, {"heldout/accuracy": 0.25})
    log.add(1, {"train/loss": 1.5})
    log.add(2, {"train/loss": 0.5, "heldout/accuracy": 0.75})
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        "step,heldout/accuracy,train/loss",
        "0,0.25,",
        "1,,1.5",
        "2,0.75,0.5",
    ]
    assert log.last("heldout/accuracy") == 0.75
    assert log.last("train/kl") is None


def test_a_cut_leaves_the_table_as_it_was(tmp_path):
    log = MetricsLog(tmp_path / "metrics.csv")
    log.add(1, {"a": 1.0})
    before = log.path.read_bytes()
    log.add(2, {"b": 2.0, "a": 3.0})
    log.cut(1)
    assert log.path.read_bytes() == before
    log.cut(-1)
    assert log.path.read_text() == "step\n"


def test_a_line_that_was_not_finished_does_not_count(tmp_path):
    log = MetricsLog(tmp_path / "metrics.csv")
    log.add(1, {"a": 1.0})
    log.add(12, {"a": 2.0})
    log.path.write_text(log.path.read_text() + "13,0.1")
    again = MetricsLog(log.path)
    assert [row["step"] for row in again.rows] == [1, 12]
    again.cut(12)
    again.add(13, {"a": 0.125})
    assert log.path.read_text() == "step,a\n1,1.0\n12,2.0\n13,0.125\n"


@given(st.lists(st.floats(), min_size=1, max_size=5))
def test_numbers_read_back_to_the_bit(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("log") / "metrics.csv"
    log = MetricsLog(path)
    for step, value in enumerate(values):
        log.add(step, {"value": value})
    for row, value in zip(read(path), values, strict=True):
        assert row["value"] == value or (math.isnan(row["value"]) and math.isnan(value))
