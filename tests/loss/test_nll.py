import pytest
import torch

from llmft.loss.nll import negative_log_likelihood


def test_value_and_gradient():
    logp = torch.tensor([[-0.5, -2.0]], requires_grad=True)
    loss = negative_log_likelihood(logp)
    loss.sum().backward()
    assert loss.tolist() == [[0.5, 2.0]]
    assert logp.grad.tolist() == [[-1.0, -1.0]]


def test_one_value_per_token_of_a_row():
    with pytest.raises(ValueError, match=r"logp \[3\]"):
        negative_log_likelihood(torch.zeros(3))
