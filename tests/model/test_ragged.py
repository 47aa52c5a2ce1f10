"""Passes without padding: the same scores and gradients, for every architecture, and no row that sees another."""

import pytest
import torch
from double import in_float64
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sampler.conftest import make_config

from llmft.model import policy as policies
from llmft.model import ragged
from llmft.model.policy import CausalPolicy
from llmft.types import Batch

ARCHITECTURES = ["llama", "qwen2", "qwen3", "gpt2", "mistral", "gemma3"]


def make(name, **changes):
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    config = make_config(name)
    for key, value in changes.items():
        setattr(config, key, value)
    return CausalPolicy(in_float64(AutoModelForCausalLM.from_config(config))).eval()


def batch_of(rows, prompts) -> Batch:
    """Every token after a row's prompt weighs something of its own."""
    tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    weight = torch.zeros(tokens.shape, dtype=torch.float64)
    for i, row in enumerate(rows):
        weight[i, prompts[i] : len(row)] = torch.arange(1, len(row) - prompts[i] + 1) / (i + 7)
    zeros = torch.zeros_like(weight)
    return Batch(tokens, torch.tensor([len(row) for row in rows]), zeros, zeros, zeros.bool(), weight)


# Longer than the sliding windows of 6; rows 0, 2 and 4 begin alike, and 4 is 0 without its end.
ROWS = [
    [1, 20, 21, 22, 23, 24, 25, 26, 27, 28, 2],
    [1, 30, 31, 2],
    [1, 20, 21, 22, 43, 44, 45, 2],
    [9, 2],
    [1, 20, 21, 22, 23, 24, 25, 26, 27],
]
PROMPTS = [3, 2, 3, 1, 3]


def scored(policy, batch, monkeypatch, worth_it):
    """Log-probs, entropies, and the gradient of a loss of both; ragged wherever that saves a share of the positions."""
    monkeypatch.setattr(policies, "WORTH_IT", worth_it)
    policy.zero_grad()
    got = policy.scores(batch, temperature=0.7, entropy="gradient")
    ((got.logp + 0.3 * got.entropy) * batch.weight).sum().backward()
    return got.logp, got.entropy, torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_without_padding_everything_stays_the_same(name, monkeypatch):
    policy, batch = make(name), batch_of(ROWS, PROMPTS)
    padded = scored(policy, batch, monkeypatch, 0)
    assert policy._faithful is None, "the padded pass has to be the padded one"
    got = scored(policy, batch, monkeypatch, 1)
    assert policy._faithful
    for mine, theirs in zip(got, padded, strict=True):
        assert (mine - theirs).norm() <= 1e-9 * theirs.norm()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_row_is_scored_as_if_it_were_alone(name):
    policy, batch = make(name), batch_of(ROWS, PROMPTS)
    logp = policy.logp(batch, temperature=1.0)
    assert policy._faithful
    for i, row in enumerate(ROWS):
        alone = policy.model(input_ids=torch.tensor([row])).logits[0].log_softmax(-1)
        for t in range(PROMPTS[i], len(row)):
            assert logp[i, t].item() == pytest.approx(alone[t - 1, row[t]].item(), abs=1e-9)
        assert not logp[i, : PROMPTS[i]].any()
        assert not logp[i, len(row) :].any()


def influence(policy, batch):
    """[B, N] how much the loss of each row changes with the embedding of each node."""
    seen = []
    handle = policy.model.get_input_embeddings().register_forward_hook(lambda *args: seen.append(args[-1]))
    logp = policy.logp(batch, temperature=1.0)
    handle.remove()
    (embedded,) = [one for one in seen if one.requires_grad]  # the others are the question whether it is faithful
    losses = (logp * batch.weight).sum(1)
    return torch.stack([torch.autograd.grad(loss, embedded, retain_graph=True)[0][0].abs().sum(-1) for loss in losses])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_row_sees_another(name):
    rows = [[10 + number, *row] for number, row in enumerate(ROWS)]  # nothing in common: each node is of one row
    policy, batch = make(name), batch_of(rows, [prompt + 1 for prompt in PROMPTS])
    found = influence(policy, batch)
    ends = torch.tensor([len(row) - 1 for row in rows]).cumsum(0)
    assert found.shape == (5, ends[-1])
    for row, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        assert found[row, start:end].all()  # each token that is read matters to its own row
        assert not found[row, :start].any()
        assert not found[row, end:].any()


def test_the_test_of_isolation_finds_a_leak(monkeypatch):
    def attention(module, query, key, value, attention_mask, **options):  # of all nodes, as if they were one row
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, None, **options)

    monkeypatch.setattr(ragged, "_attention", attention)
    policy = make("llama")
    assert not ragged.is_faithful(policy.model, 64, torch.device("cpu"))
    policy._faithful = True
    rows = [[10 + number, *row] for number, row in enumerate(ROWS)]
    assert influence(policy, batch_of(rows, [prompt + 1 for prompt in PROMPTS]))[1, :10].any()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.lists(st.integers(3, 4), max_size=6), st.integers(1, 6)), min_size=1, max_size=7))
def test_whatever_rows_have_in_common(monkeypatch, policy, drawn):
    rows = [[1, *tokens, 2] for tokens, _ in drawn]
    batch = batch_of(rows, [min(prompt, len(row) - 1) for row, (_, prompt) in zip(rows, drawn, strict=True)])
    got, padded = (scored(policy, batch, monkeypatch, worth_it) for worth_it in (1, 0))
    for mine, theirs in zip(got, padded, strict=True):
        assert (mine - theirs).norm() <= 1e-9 * theirs.norm()


def test_what_rows_have_in_common_is_computed_once():
    # Read are [1 3 4], [1 3 5], [1 3 4 4] and [1 3 5] again: beginnings 1, 13, 134, 135, 1344. The last row needs no
    # attention of its own.
    batch = batch_of([[1, 3, 4, 2], [1, 3, 5, 2], [1, 3, 4, 4, 2], [1, 3, 5, 9]], [1, 1, 1, 1])
    layout = ragged.lay_out(batch, share=True)
    assert layout.node.tolist() == [[0, 1, 2, 0], [0, 1, 3, 0], [0, 1, 2, 4], [0, 1, 3, 0]]
    assert layout.rows.tolist() == [0, 1, 2]
    assert layout.place.tolist() == [0, 1, 2, 6, 11]
    apart = ragged.lay_out(batch, share=False)
    assert apart.node.tolist() == [[0, 1, 2, 0], [3, 4, 5, 0], [6, 7, 8, 9], [10, 11, 12, 0]]
    assert apart.place.tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14]


def test_a_token_that_nothing_reads_is_not_computed(monkeypatch):
    policy, seen = make("llama"), []
    handle = policy.model.get_input_embeddings().register_forward_hook(lambda *args: seen.append(args[1][0].shape))
    policy._faithful = True
    policy.logp(batch_of(ROWS, PROMPTS), temperature=1.0)
    monkeypatch.setattr(policies, "WORTH_IT", 0)
    policy.logp(batch_of(ROWS, PROMPTS), temperature=1.0)
    handle.remove()
    # 10 + 3 + 7 + 1 + 8 tokens are read; rows 2 and 4 have 4 and 8 beginnings in common with row 0, row 1 has one.
    assert seen == [(1, 29 - 4 - 8 - 1), (5, 10)]


@pytest.mark.parametrize("name", ["bloom", "llama_eager"])  # an attention of its own; one that is in no table
def test_a_model_that_cannot_is_given_padded_rows(name):
    policy, batch = make(name), batch_of(ROWS, PROMPTS)
    logp = policy.logp(batch, temperature=1.0)
    assert not policy._faithful
    alone = policy.logp(batch_of(ROWS[1:2], PROMPTS[1:2]), temperature=1.0)
    assert torch.allclose(logp[1, :4], alone[0], atol=1e-9)


def test_rows_share_nothing_where_something_is_dropped():
    policy, batch = make("llama"), batch_of(ROWS, PROMPTS)
    assert len(policy._layout(batch).place) == 16
    policy = make("llama", attention_dropout=0.1)
    assert len(policy._layout(batch).place) == 16  # nothing is dropped in evaluation
    assert len(policy.train()._layout(batch).place) == 29


def test_activations_that_are_computed_again_keep_their_padding():
    policy, batch = make("llama"), batch_of(ROWS, PROMPTS)
    policy.model.gradient_checkpointing_enable()
    assert policy.eval()._layout(batch) is not None
    assert policy.train()._layout(batch) is None


def test_rows_of_one_length_with_nothing_in_common_have_nothing_to_gain():
    assert make("llama")._layout(batch_of([[3, 4, 5, 2], [6, 7, 8, 2]], [1, 1])) is None


def test_the_model_is_left_as_it_was(policy, monkeypatch):
    batch, config = batch_of(ROWS, PROMPTS), policy.model.config
    policy.train()
    policy.logp(batch, temperature=1.0)
    assert policy._faithful
    assert config._attn_implementation == "sdpa"
    assert all(part.training for part in policy.modules())
    monkeypatch.setattr(ragged, "_spread", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        policy.logp(batch, temperature=1.0)
    assert config._attn_implementation == "sdpa"


def test_a_batch_that_trains_nothing_reaches_every_parameter(policy):
    batch = batch_of(ROWS, PROMPTS)
    for idle in (batch.idle(), batch_of(ROWS, [len(row) for row in ROWS])):
        policy.zero_grad()
        (policy.logp(idle, temperature=1.0) * idle.weight).sum().backward()
        assert all(parameter.grad is not None and not parameter.grad.any() for parameter in policy.parameters())
