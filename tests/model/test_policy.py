import pytest
import torch

from llmft.model.policy import prediction_scores
from llmft.types import Batch


def batch_of(rows: list[list[int]], prompts: list[int]) -> Batch:
    width = max(len(row) for row in rows)
    tokens = torch.zeros(len(rows), width, dtype=torch.int64)
    weight = torch.zeros(len(rows), width, dtype=torch.float64)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = torch.tensor(row)
        weight[i, prompts[i] : len(row)] = 1.0
    zeros = torch.zeros_like(weight)
    length = torch.tensor([len(row) for row in rows])
    return Batch(tokens=tokens, length=length, logp=zeros, advantage=zeros, off_policy=zeros.bool(), weight=weight)


ROWS = [[1, 20, 21, 22, 23, 2], [1, 30, 31, 2], [1, 40, 41, 42, 43, 44, 45, 2]]


def test_a_row_is_scored_as_if_it_were_alone(policy):
    prompts = [3, 2, 4]
    batch = batch_of(ROWS, prompts)
    got = policy.logp(batch, temperature=1.0)
    for i, row in enumerate(ROWS):
        logps = policy.model(input_ids=torch.tensor([row])).logits[0].log_softmax(-1)
        for t in range(prompts[i], len(row)):
            assert got[i, t].item() == pytest.approx(logps[t - 1, row[t]].item(), abs=1e-9)
        assert not got[i, : prompts[i]].any()  # nothing is trained there
        assert not got[i, len(row) :].any()


def test_temperature_divides_the_logits():
    logits = torch.tensor([[[2.0, 0.0]]], dtype=torch.float64)
    targets = torch.tensor([[0]])
    for temperature, expected in [
        (1.0, 2 - torch.tensor(2.0).exp().add(1).log()),
        (2.0, 1 - torch.tensor(1.0).exp().add(1).log()),
    ]:
        got = prediction_scores(logits, targets, temperature=temperature, entropy="value")
        assert got.logp.item() == pytest.approx(float(expected), abs=1e-6)


def test_entropy_of_a_coin_and_of_certainty():
    logits = torch.tensor([[[0.0, 0.0], [50.0, -50.0]]], dtype=torch.float64)
    entropy = prediction_scores(logits, torch.zeros(1, 2, dtype=torch.int64), temperature=1.0, entropy="value").entropy
    assert entropy is not None
    assert entropy[0, 0].item() == pytest.approx(0.6931471805599453, abs=1e-12)
    assert entropy[0, 1].item() == pytest.approx(0.0, abs=1e-12)


def test_the_reference_stays_where_it_was(policy):
    batch = batch_of(ROWS, prompts=[3, 2, 4])
    with pytest.raises(RuntimeError, match="keep_reference"):
        policy.reference_logp(batch, temperature=1.0)
    before = policy.logp(batch, temperature=1.0).detach()
    policy.keep_reference()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.01)
    assert torch.equal(policy.reference_logp(batch, temperature=1.0), before)
    assert not torch.equal(policy.logp(batch, temperature=1.0), before)
    assert len(list(policy.parameters())) == len(list(policy.model.parameters()))  # the copy is not trained


def test_a_second_component_is_scored_too(policy):
    batch = batch_of(ROWS, prompts=[4, 3, 5])
    other = torch.zeros_like(batch.weight)
    other[:, 2] = 1.0
    wide = Batch(
        **{name: getattr(batch, name) for name in ("tokens", "length", "logp", "advantage", "off_policy", "weight")},
        also={"weight/sft": other},
    )
    assert policy.logp(batch, temperature=1.0)[0, 2] == 0
    assert policy.logp(wide, temperature=1.0)[0, 2] != 0
