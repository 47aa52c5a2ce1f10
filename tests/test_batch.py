"""Where each token lands, what it weighs, and who counts: by hand, and against the published implementations."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmft.advantage.group import group_advantages
from llmft.batch import Component, pack
from llmft.loss.kl import k3
from llmft.loss.policy import clipped, clipped_surrogate
from llmft.types import Author, Batch, Rollout, Score, Task

P, T, R, X = Author.POLICY, Author.TRACE, Author.REPLAY, Author.TOOL
TASK = Task("t", ({"role": "user", "content": "?"},), "math")
F64 = torch.float64


def rollout(authors, advantage=1.0, prompt=(9,), logps=None, failed=False):
    """A response of tokens 20, 21, ... by ``authors``."""
    n = len(authors)
    source = {T: "trace", R: "replay"}.get(authors[0] if n else P, "policy")
    score = Score(None, failure="sandbox") if failed else None
    logps = tuple(logps or [-0.5] * n)
    return Rollout(
        TASK, prompt, tuple(range(20, 20 + n)), logps, tuple(authors), source, "", "end", score, (advantage,) * n
    )


def packed(rollouts, average="token", length=None, keep_all=False, **options) -> Batch:
    return pack(rollouts, average=average, length=length, keep_all=keep_all, dtype=F64, **options)


def test_where_each_token_lands():
    batch = packed([rollout([P, X, P], 2.0, (7, 8), [-0.1, 0.0, -0.3]), rollout([T], -1.0, logps=[0.0])])
    assert batch.tokens.tolist() == [[7, 8, 20, 21, 22], [9, 20, 0, 0, 0]]
    assert batch.length.tolist() == [5, 2]
    assert batch.logp.tolist() == [[0, 0, -0.1, 0, -0.3], [0] * 5]
    assert batch.advantage.tolist() == [[0, 0, 2, 2, 2], [0, -1, 0, 0, 0]]
    assert batch.off_policy.tolist() == [[False] * 5, [False, True, False, False, False]]
    third = 1 / 3  # three tokens are trained: not the prompt, not the tool's, not the padding
    assert batch.weight.tolist() == [[0, 0, third, 0, third], [0, third, 0, 0, 0]]


@pytest.mark.parametrize(
    ("average", "length", "first", "second"),
    [
        ("token", None, 1 / 4, 1 / 4),  # 3 + 1 trained tokens
        ("sequence", None, 1 / 6, 1 / 2),  # each row one half, shared by its tokens
        ("constant", 10, 1 / 10, 1 / 10),
        ("row_constant", 10, 1 / 20, 1 / 20),  # two rows
    ],
)
def test_each_average(average, length, first, second):
    rollouts = [rollout([P, P, X, P]), rollout([P])]
    weight = packed(rollouts, average, length).weight
    assert weight.tolist() == [[0, first, first, 0, first], [0, second, 0, 0, 0]]
    # A row without signal is not packed, and counts all the same; a failed one counts nowhere.
    rollouts = [rollout([P, P, X, P]), rollout([P], advantage=0.0), rollout([P, P], failed=True)]
    batch = packed(rollouts, average, length)
    assert batch.weight.tolist() == [[0, first, first, 0, first]]
    batch = packed(rollouts, average, length, keep_all=True)
    assert batch.weight.tolist() == [[0, first, first, 0, first], [0, second, 0, 0, 0]]


@pytest.mark.parametrize(
    ("author", "trained", "off_policy", "own"), [(P, 1, 0, 1), (T, 1, 1, 0), (R, 1, 1, 0), (X, 0, 0, 0)]
)
def test_each_author(author, trained, off_policy, own):
    batch = packed([rollout([P, P]), rollout([author, P])])
    row = {"weight": batch.weight, "off policy": batch.off_policy, "own": batch.also["mean/own"]}
    assert {name: int(tensor[1, 1] != 0) for name, tensor in row.items()} == {
        "weight": trained,
        "off policy": off_policy,
        "own": own,
    }


def test_a_row_without_trained_tokens_is_no_row():
    rollouts = [rollout([P, P]), rollout([X, X]), rollout([])]
    assert packed(rollouts, "sequence", keep_all=True).weight.tolist() == [[0, 1 / 2, 1 / 2]]
    assert packed(rollouts, "row_constant", 4, keep_all=True).weight.tolist() == [[0, 1 / 4, 1 / 4]]


def test_metrics_average_over_what_is_packed():
    rollouts = [rollout([P, X, P]), rollout([T, T]), rollout([P, P], advantage=0.0)]
    also = packed(rollouts, "row_constant", 100).also
    assert also["mean"].tolist() == [[0, 1 / 4, 0, 1 / 4], [0, 1 / 4, 1 / 4, 0]]
    assert also["mean/own"].tolist() == [[0, 1 / 2, 0, 1 / 2], [0, 0, 0, 0]]
    assert also["mean/off"].tolist() == [[0, 0, 0, 0], [0, 1 / 2, 1 / 2, 0]]


def test_components_keep_their_own_denominators():
    traces = Component("token", None, {T})
    rollouts = [rollout([P, P]), rollout([T, T, T, T], advantage=0.0), rollout([P], advantage=0.0)]
    batch = packed(rollouts, "sequence", authors={P}, components={"sft": traces})
    assert batch.weight.tolist() == [[0, 1 / 4, 1 / 4, 0, 0], [0, 0, 0, 0, 0]]  # two rows have own tokens
    assert batch.also["weight/sft"].tolist() == [[0, 0, 0, 0, 0], [0, 1 / 4, 1 / 4, 1 / 4, 1 / 4]]
    # A component that finds no token weighs nothing, and poisons nothing.
    alone = packed([rollout([P, P])], components={"sft": traces})
    assert alone.also["weight/sft"].tolist() == [[0, 0, 0]]


def test_an_advantage_for_each_token():
    one = rollout([P, P, X])
    batch = packed([Rollout(*(getattr(one, name) for name in one.__slots__[:-1]), (0.0, 3.0, 5.0))])
    assert batch.advantage.tolist() == [[0, 0, 3, 5]]
    only_tool = Rollout(*(getattr(one, name) for name in one.__slots__[:-1]), (0.0, 0.0, 5.0))
    assert len(packed([only_tool])) == 0  # credit for a token that is not trained teaches nothing


@pytest.mark.parametrize("rollouts", [[], [rollout([P], advantage=0.0)], [rollout([P], failed=True)]])
def test_nothing_to_train(rollouts):
    batch = packed(rollouts)
    assert len(batch) == 0
    assert list(batch.split(4)) == []


def test_an_idle_row_weighs_nothing():
    idle = packed([rollout([P])], components={"sft": Component("token", None, {T})}).idle()
    assert len(idle) == 1
    assert idle.also.keys() == {"weight/sft", "mean", "mean/own", "mean/own_rows"}
    assert not any(tensor.any() for tensor in (idle.weight, *idle.also.values()))


def test_splitting_keeps_every_row_and_weight():
    rollouts = [rollout([P] * n) for n in (1, 5, 2, 4, 3)]
    batch = packed(rollouts)
    parts = list(batch.split(2))
    assert [part.tokens.shape[1] for part in parts] == [6, 4, 2]  # cut to the longest row
    assert sum(part.weight.sum() for part in parts).item() == pytest.approx(1, abs=1e-15)


def test_packing_fills_passes_by_tokens():
    batch = replace(packed([rollout([P] * n) for n in (1, 5, 2, 4, 3)]), packing=9)
    parts = list(batch.split(1))  # rows do not bound it
    assert [part.length.tolist() for part in parts] == [[6], [5, 4], [3, 2]]  # 6 and 5 are too many
    assert [part.tokens.shape[1] for part in parts] == [6, 5, 3]
    assert [part.packing for part in parts] == [9] * 3
    assert batch.idle().packing == batch.to("cpu").packing == 9
    assert list(batch.rows(torch.tensor([], dtype=torch.int64)).split(1)) == []


@given(st.lists(st.integers(1, 20), min_size=1, max_size=30), st.integers(2, 40))
def test_a_pass_has_as_many_tokens_as_fit(lengths, packing):
    batch = replace(packed([rollout([P] * n, prompt=(n, 9)) for n in lengths], keep_all=True), packing=packing)
    parts = [part.length.tolist() for part in batch.split(1)]
    assert [length for part in parts for length in part] == sorted(batch.length.tolist(), reverse=True)
    assert all(sum(part) <= packing or len(part) == 1 for part in parts)
    assert all(sum(part) + after[0] > packing for part, after in pairwise(parts))  # what follows had no room
    assert sum(part.weight.sum() for part in batch.split(1)).item() == pytest.approx(1, abs=1e-12)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"algorithm.length=None: average=row_constant divides by it; set a number"):
        packed([rollout([P])], "row_constant")
    with pytest.raises(ValueError, match="'t' has an empty prompt"):
        packed([rollout([P], prompt=())])
    with pytest.raises(ValueError, match="'t' has no advantages"):
        packed([Rollout(TASK, (9,), (20,), (0.0,), (P,), "policy", "", "end")])


# ---------------------------------------------------------------- against the published implementations


@pytest.fixture(scope="module")
def vectors(shared):
    return json.loads(shared("vectors/vectors.json").read_text())


def published(vectors, *, normalize, average, length=None, tools=None):
    """The vectors' rows as a batch, and their current and reference log-probs laid out alike."""
    inputs = vectors["inputs"]
    rewards = inputs["REWARDS"]
    kind = "group_std" if normalize else "group"
    advantages = group_advantages(rewards[:4], kind) + group_advantages(rewards[4:], kind)
    rollouts = []
    for row, advantage in enumerate(advantages):
        n = sum(inputs["MASK"][row])
        authors = [P if tools is None or tools[row][t] else X for t in range(n)]
        rollouts.append(rollout(authors, advantage, logps=inputs["OLD"][row][:n]))
    batch = packed(rollouts, average, length)
    now, reference = (
        torch.cat([torch.zeros(8, 1, dtype=F64), torch.tensor(inputs[key], dtype=F64)], 1) for key in ("LP", "REF")
    )
    return batch, now, reference


def policy_loss(batch, now, clip_low=0.2, clip_high=0.2, clip_dual=None):
    bounds = {"clip_low": clip_low, "clip_high": clip_high, "clip_dual": clip_dual}
    return (clipped_surrogate((now - batch.logp).exp(), batch.advantage, **bounds) * batch.weight).sum().item()


@pytest.mark.parametrize(
    ("name", "normalize", "average", "length"),
    [
        ("grpo_new_verl_token-mean", True, "token", None),
        ("grpo_new_verl_seq-mean-token-mean", True, "sequence", None),
        ("grpo_new_verl_seq-mean-token-sum", True, "row_constant", 1),
        ("grpo_new_verl_seq-mean-token-sum-norm", True, "constant", 6),
        ("dr_grpo_new_verl_norm_L6", False, "constant", 6),
        ("dr_grpo_new_verl_norm_scale_8192", False, "constant", 8192),
    ],
)
def test_grpo_family(vectors, name, normalize, average, length):
    batch, now, _ = published(vectors, normalize=normalize, average=average, length=length)
    expected = vectors["grpo_family"][name]
    # verl's default has the dual clip at 3; no ratio of these rows reaches it
    for clip_dual in (None, 3.0):
        assert policy_loss(batch, now, clip_dual=clip_dual) == pytest.approx(expected, abs=1e-9)


def test_grpo_clip_fraction(vectors):
    batch, now, _ = published(vectors, normalize=True, average="token")
    expected = vectors["grpo_family"]["grpo_old_verl_token_mean"]
    assert policy_loss(batch, now) == pytest.approx(expected["pg_loss"], abs=1e-9)
    cut = clipped((now - batch.logp).exp(), batch.advantage, clip_low=0.2, clip_high=0.2)
    assert (cut * batch.also["mean/own"]).sum().item() == pytest.approx(expected["clipfrac"], abs=1e-7)
    gap = ((batch.logp - now) * batch.also["mean"]).sum().item()
    assert gap == pytest.approx(expected["ppo_kl"], abs=1e-9)


def test_dapo(vectors):
    batch, now, _ = published(vectors, normalize=True, average="token")
    expected = vectors["grpo_family"]["dapo_0.2_0.28_c10_token_mean"]
    assert policy_loss(batch, now, 0.2, 0.28, 10.0) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", ["grpo_masked", "grpo_unmasked_ablation"])
def test_search_r1_leaves_retrieved_text_out(vectors, name):
    tools = vectors["inputs"]["INFO"] if name == "grpo_masked" else None
    batch, now, reference = published(vectors, normalize=True, average="token", tools=tools)
    expected = vectors["search_r1"][name]
    policy, divergence = policy_loss(batch, now), (k3(now, reference) * batch.weight).sum().item()
    assert policy == pytest.approx(expected["pg_loss"], abs=1e-9)
    assert divergence == pytest.approx(expected["kl_loss"], abs=1e-9)
    if tools:
        cut = clipped((now - batch.logp).exp(), batch.advantage, clip_low=0.2, clip_high=0.2)
        assert (cut * batch.also["mean"]).sum().item() == pytest.approx(expected["clipfrac"], abs=1e-7)
        expected_sum = expected["policy_loss_without_entropy"]
        assert policy + 0.001 * divergence == pytest.approx(expected_sum, abs=1e-9)
