"""The trajectory that is met again: the paper's choice and the published code's, which differ in all three cases."""

from __future__ import annotations

import json
import math

import pytest
import torch

from llmft.batch import pack
from llmft.guidance.choice import (
    Chooser,
    Scored,
    mean_entropy,
    original_entropy,
    original_masks,
    perplexity,
    score_trajectories,
)

PROMPT, RESPONSES = (1, 20, 30), ((40, 2), (50, 60, 70, 2), (80,), (40, 41, 42, 43, 44, 2))


def scored(entropies, prompt=(1.0, 1.0)):
    every = torch.tensor([*prompt, *entropies], dtype=torch.float64)
    return Scored(-every, every, len(prompt) + 1)


@pytest.mark.parametrize("case", ["three", "ten", "long_over_half"])
def test_the_published_metrics(case, shared):
    told = json.loads(shared("vectors/vectors.json").read_text())["exgrpo"]["trajectory_selection"]
    case, prompt = told[case], told["prompt_entropies_for_prompt_tokens_2_and_3"]
    rows = [scored(entropies, prompt) for entropies in case["token_entropies"]]
    paper = [mean_entropy(one) for one in rows]
    masks = original_masks([len(entropies) for entropies in case["token_entropies"]])
    code = [original_entropy(one.entropies, width=told["R"], masked=m) for one, m in zip(rows, masks, strict=True)]
    assert paper == pytest.approx(case["paper_mean_entropy"], abs=1e-9)
    assert code == pytest.approx(case["code_metric"], abs=1e-9)
    assert masks == case["mask_len_used"]
    assert (paper.index(min(paper)), code.index(min(code))) == (case["paper_pick"], case["code_pick"])


def test_the_original_sees_what_fits_into_a_row():
    """Of four columns the last two are left, where the entropies 3 and 4 stand; a response that fills it leaves none."""
    entropies = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    assert original_entropy(entropies, width=4, masked=2) == pytest.approx((4 + 5) / 2)
    assert original_entropy(entropies, width=4, masked=0) == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert original_entropy(entropies, width=4, masked=4) == 0.0


def test_perplexity():
    """Log-probs of -1 and -3 after the prompt's: exp(2)."""
    assert perplexity(Scored(torch.tensor([-9.0, -1.0, -3.0]), torch.zeros(3), 2)) == pytest.approx(math.exp(2))


def test_scores_are_the_policys_own(policy, parts):
    """The same as of a batch that is packed for training, whatever rows share a pass."""
    rows = [parts.replayed(PROMPT, one) for one in RESPONSES]
    batch = pack([one.with_advantage(1.0) for one in rows], average="token", length=None, keep_all=True)
    with torch.no_grad():
        expected = policy.scores(batch, temperature=0.7, entropy="value")
    for passes in (1, 3, 4):
        found = score_trajectories(policy, PROMPT, RESPONSES, temperature=0.7, rows=passes)
        for row, (one, response) in enumerate(zip(found, RESPONSES, strict=True)):
            places = slice(len(PROMPT), len(PROMPT) + len(response))
            torch.testing.assert_close(one.response_logps, expected.logp[row, places], rtol=0, atol=1e-9)
            torch.testing.assert_close(one.response_entropies, expected.entropy[row, places], rtol=0, atol=1e-9)
            assert len(one.entropies) == len(PROMPT) - 1 + len(response)


@pytest.mark.parametrize("what", ["entropy", "perplexity", "entropy_original"])
def test_lowest_and_highest(what, policy):
    found = score_trajectories(policy, PROMPT, RESPONSES, temperature=1.0, rows=9)
    masks = original_masks([len(one) for one in RESPONSES])
    values = {
        "entropy": [float(one.entropies[2:].mean()) for one in found],
        "perplexity": [math.exp(-float(one.logps[2:].mean())) for one in found],
        # 10 columns, the first `mask` of which are left out; the prompt has two entropies
        "entropy_original": [
            float(one.entropies[max(len(one.entropies) - (10 - m), 0) :].sum()) / (10 - m)
            for one, m in zip(found, masks, strict=True)
        ],
    }[what]
    for pick, choose in (("lowest", min), ("highest", max)):
        chosen = Chooser(what, pick, longest=10, rows=2).choose(policy, PROMPT, RESPONSES, masks)
        assert chosen == values.index(choose(values))


def test_the_oldest_of_equal_ones(policy):
    twice = (RESPONSES[0], RESPONSES[0])
    assert [Chooser("entropy", pick, 10, 1).choose(policy, PROMPT, twice, ()) for pick in ("lowest", "highest")] == [
        0,
        0,
    ]
