import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from llmft.sampler.draw import cut, draw, invert
from llmft.sampler.streams import uniforms
from llmft.types import Sampling

BELOW_ONE = 1 - 2.0**-53


def plain(temperature=1.0, **more):
    return Sampling(temperature=temperature, max_new_tokens=1, **more)


def log(*probabilities):
    return torch.tensor([[math.log(p) if p else -math.inf for p in probabilities]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("uniform", "token"),
    [(0.0, 0), (0.4999, 0), (0.5, 1), (0.7499, 1), (0.75, 3), (0.9999, 3), (BELOW_ONE, 3)],
)
def test_the_token_is_the_first_whose_cumulative_probability_exceeds_the_number(uniform, token):
    tokens, logps = draw(log(0.5, 0.25, 0, 0.25, 0), torch.tensor([uniform], dtype=torch.float64), plain())
    assert tokens.tolist() == [token]
    assert logps.item() == pytest.approx(math.log([0.5, 0.25, 0, 0.25][token]), abs=1e-12)


@given(
    weights=st.lists(st.sampled_from([0.0, 1e-300, 1e-30, 1e-8, 1 / 3, 1.0, 7.0]), min_size=1, max_size=40).filter(any),
    uniform=st.sampled_from([0.0, 2.0**-53, 0.5, 1 - 2.0**-24, BELOW_ONE]) | st.floats(0, BELOW_ONE),
)
def test_a_token_of_weight_zero_is_never_drawn(weights, uniform):
    row = torch.tensor([weights], dtype=torch.float64)
    index = int(invert(row, torch.tensor([uniform], dtype=torch.float64)))
    assert weights[index] > 0


def test_many_small_weights_count_beside_a_large_one():
    """A sum in float32 would stay at 1: adding 1e-9 to 1 changes nothing there."""
    weights = torch.tensor([[1.0] + [1e-9] * 1000])
    index = int(invert(weights, torch.tensor([1 - 5e-7], dtype=torch.float64)))
    assert 490 < index < 510  # half of the thousand, which together weigh 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_extremes_draw_tokens_that_are_possible_in_low_precision(dtype):
    torch.manual_seed(0)
    logits = (torch.randn(50, 5000) * 30).to(dtype)
    logits[:, 4000:] = -math.inf
    for value in (0.0, BELOW_ONE):
        tokens, logps = draw(logits, torch.full((50,), value, dtype=torch.float64), plain())
        assert torch.isfinite(logps).all()
        assert (tokens < 4000).all()


def test_greedy_takes_the_likeliest_and_reports_its_logp_at_temperature_one():
    tokens, logps = draw(log(0.2, 0.7, 0.1), torch.zeros(1, dtype=torch.float64), plain(0.0))
    assert tokens.item() == 1
    assert logps.item() == pytest.approx(math.log(0.7), abs=1e-12)


def test_logps_are_of_the_whole_distribution_at_the_temperature():
    """At temperature 0.5 the probabilities .5 .3 .2 become .25 .09 .04 over .38; top_k leaves the first, certain."""
    tokens, logps = draw(log(0.5, 0.3, 0.2), torch.tensor([BELOW_ONE], dtype=torch.float64), plain(0.5, top_k=1))
    assert tokens.item() == 0
    assert logps.item() == pytest.approx(math.log(0.25 / 0.38), abs=1e-12)


@pytest.mark.parametrize(
    ("top_k", "top_p", "kept"),
    [
        (0, 1.0, [0, 1, 2, 3]),
        (2, 1.0, [1, 2]),
        (9, 1.0, [0, 1, 2, 3]),
        (0, 0.39, [1]),  # the likeliest alone holds .4
        (0, 0.41, [1, 2]),
        (0, 0.69, [1, 2]),
        (0, 0.71, [0, 1, 2]),
        (0, 1e-9, [1]),
        (0, 0.0, [1]),  # never none
        (2, 0.56, [1]),  # of .4 and .3 the first holds .571
        (2, 0.58, [1, 2]),
    ],
)
def test_the_cuts(top_k, top_p, kept):
    left = cut(log(0.2, 0.4, 0.3, 0.1), plain(top_k=top_k, top_p=top_p))
    assert torch.isfinite(left)[0].nonzero().flatten().tolist() == kept


@pytest.mark.parametrize("top_k", [0, 1, 5, 40])
@pytest.mark.parametrize("top_p", [1.0, 0.99, 0.5, 0.01])
def test_the_cuts_are_those_of_transformers(top_k, top_p):
    from transformers import TopKLogitsWarper, TopPLogitsWarper

    torch.manual_seed(1)
    logp = torch.log_softmax(torch.randn(200, 64, dtype=torch.float64) * 2, -1)
    theirs = TopKLogitsWarper(top_k)(None, logp) if top_k else logp
    theirs = TopPLogitsWarper(top_p)(None, theirs) if top_p < 1 else theirs
    assert torch.equal(cut(logp, plain(top_k=top_k, top_p=top_p)), theirs)


@pytest.mark.parametrize(
    "sampling",
    [plain(), plain(0.6), plain(1.7), plain(top_k=7), plain(top_p=0.8), plain(0.9, top_k=9, top_p=0.7)],
    ids=str,
)
def test_frequencies_are_the_probabilities(sampling):
    torch.manual_seed(2)
    logits, draws = torch.randn(1, 20, dtype=torch.float64) * 1.5, 100_000
    uniform = torch.from_numpy(uniforms(range(draws), [0] * draws, 1)[:, 0])
    tokens, _ = draw(logits.expand(draws, -1), uniform, sampling)
    exact = cut(torch.log_softmax(logits / sampling.temperature, -1), sampling).softmax(-1)[0].numpy()
    counts = np.bincount(tokens.numpy(), minlength=20)
    assert counts[exact == 0].sum() == 0
    possible = exact > 0
    assert stats.chisquare(counts[possible], exact[possible] * draws).pvalue > 1e-3
