import math

import pytest

from llmft.sampler.finish import completion

END = 2


@pytest.mark.parametrize(
    ("ids", "stopped", "kept", "finish"),
    [
        ([5, 6, 7], None, [5, 6, 7], "length"),
        ([5, END, 7], None, [5, END], "end"),
        ([END, END, 7], None, [END], "end"),
        ([5, 6, 7], 2, [5, 6], "stop"),
        ([5, 6, END], 2, [5, 6], "stop"),  # what was written past the stop string counts for nothing
        ([5, END, 7], 3, [5, END], "end"),
    ],
)
def test_where_a_completion_ends_and_why(ids, stopped, kept, finish):
    made = completion(ids, [-0.1 * token for token in ids], END, stopped, "row 0")
    assert made.token_ids == tuple(kept)
    assert made.logps == tuple(-0.1 * token for token in kept)
    assert made.finish == finish


@pytest.mark.parametrize("broken", [math.nan, -math.inf])
def test_a_logp_that_is_not_finite_stops_it_and_one_past_the_end_does_not(broken):
    with pytest.raises(FloatingPointError, match="not finite in row 3"):
        completion([5, 6], [-1.0, broken], END, None, "row 3")
    assert completion([END, 6], [-1.0, broken], END, None, "row 3").logps == (-1.0,)
