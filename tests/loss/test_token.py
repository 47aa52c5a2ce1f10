"""The loss of a token by its author: against every published case, value and gradient, and what holds for any."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain import token_loss
from published import Published

from llmft.loss.policy import clipped, clipped_surrogate

F64 = torch.float64
LUFFY = ["published", "published_but_clip_on", "published_but_token_mean", "published_but_std"]
LUFFY += ["mixed_policy_no_shaping_clip", "on_policy_script", "yaml_defaults", "gamma_0.3", "gamma_0.5"]
LUFFY += ["off_logp", "off_p_logp", "off_square_root", "off_pow_0.5", "off_pow_0.25"]
LUFFY += ["off_max_clip_0.5", "off_min_clip_0.2", "all_max_clip_0.8_sum", "all_max_clip_0.8_mean", "target_probs"]
LUFFY += ["clip_upper_bound_1.5", "on_logp", "on_p_logp", "on_square_root", "on_pow_0.25", "on_p_div_p_0.1"]
LUFFY += ["on_p_div_p_0.5", "partial_prefix"]
EXGRPO = ["published_mixed_phase", "warmup_on_policy_phase", "no_shaping_clip_off"]
EXGRPO += ["no_shaping_clip_on_only_on_tokens", "std_token_mean", "off_logp_uses_lp_not_ratio"]
CASES = [("luffy", name) for name in LUFFY] + [("exgrpo", name) for name in EXGRPO]
BOUNDS = {"clip_low": 0.2, "clip_high": 0.2, "clip_dual": None}


@pytest.fixture(scope="module")
def published(shared):
    return Published(shared("vectors/vectors.json"))


def test_every_published_case_is_here(published):
    """Two are no case of this loss: `rl_with_sft_loss`, which test_published.py has, and `scaling_published_run`."""
    others = {"rl_with_sft_loss", "scaling_published_run"}
    assert set(published.vectors["luffy"]) == {*LUFFY, *others}
    assert {name for name in published.vectors["exgrpo"] if name in EXGRPO} == set(EXGRPO)
    assert len(LUFFY) + len(others) == 29


@pytest.mark.parametrize(("paper", "name"), CASES)
def test_a_published_case(published, paper, name):
    case = published.case(paper, name)
    loss, logp = token_loss(**case.loss), torch.tensor(published.logp, requires_grad=True)
    old, off = torch.tensor(published.stored(case)), torch.tensor(case.off_policy)
    bounds = case.bounds if loss.clips(guided=False) else None
    advantage = torch.tensor(case.advantages).expand(8, 6)
    priced = loss(logp, old, advantage, off, logp - old, bounds)
    per_token = np.where(published.mask, priced.loss.detach().numpy(), 0)
    (priced.loss * torch.tensor(published.mask)).sum().backward()

    expected, slopes, f = published.by_hand(case)
    denominator, out = published.denominator(case), case.out
    assert per_token.sum() / denominator == pytest.approx(out["pg_loss"], abs=1e-9)
    assert per_token == pytest.approx(expected, abs=1e-9)
    assert logp.grad.numpy() == pytest.approx(slopes, abs=1e-9)
    for key, got in (("token_losses", per_token), ("grad_wrt_LP", logp.grad.numpy() / denominator)):
        if key in case.tokens:
            assert got == pytest.approx(np.array(case.tokens[key]), abs=1e-9)

    off, on, ratio = case.off_policy, published.mask & ~case.off_policy, priced.ratio.numpy()
    assert ratio == pytest.approx(f, abs=1e-9) or bounds is not None  # by hand ``f`` is what the clip makes of it
    whole = np.where(published.mask, -case.advantages * ratio, 0)
    if bounds is None and "all_max_clip" not in case.arguments:
        assert whole[on].mean() == pytest.approx(out["on_pg_loss"], abs=1e-9)
    if not off.any():
        return
    assert ratio[off].mean() == pytest.approx(out["off_ratio_mean"], abs=1e-9)
    assert whole[off].mean() == pytest.approx(out["off_pg_loss"], abs=1e-9)
    assert np.exp(published.logp)[off].mean() == pytest.approx(out["off_policy_prob"], abs=1e-9)
    at_a_bound = out["off_ratio_max_clip_frac"] + out["off_ratio_min_clip_frac"]
    assert priced.cut.numpy()[off].mean() == pytest.approx(at_a_bound, abs=1e-7)


@pytest.mark.parametrize(("paper", "name"), [("luffy", "published_but_clip_on"), ("exgrpo", "warmup_on_policy_phase")])
def test_the_published_share_that_is_clipped_counts_everybodys_tokens(published, paper, name):
    """Ours counts the policy's own: an expert's are never clipped."""
    case = published.case(paper, name)
    ratio = torch.tensor(np.exp(published.logp - published.old))
    advantage = torch.tensor(case.advantages).expand(8, 6)
    cut = clipped(ratio, advantage, clip_low=0.2, clip_high=0.2).numpy()
    assert cut[published.mask].mean() == pytest.approx(case.out["on_pg_clipfrac"], abs=1e-7)
    logp, old = torch.tensor(published.logp), torch.tensor(published.stored(case))
    priced = token_loss()(logp, old, advantage, torch.tensor(case.off_policy), logp - old, BOUNDS)
    own = published.mask & ~case.off_policy
    assert priced.cut.numpy()[own].tolist() == cut[own].tolist()


# ---------------------------------------------------------------- what holds for any tokens

TOKEN = st.tuples(st.floats(-6, 0), st.floats(-6, 0), st.floats(-2, 2), st.booleans())
SHAPES = st.sampled_from(["none", "logp", "p_logp", "square_root", "pow", "gamma"])


def priced(loss, tokens, bounds=BOUNDS):
    logp, old, advantage = (torch.tensor([column], dtype=F64) for column in list(zip(*tokens, strict=True))[:3])
    off = torch.tensor([[token[3] for token in tokens]])
    return loss(logp, old, advantage, off, logp - old, bounds), (logp, old, advantage, off)


@given(st.lists(TOKEN, min_size=1, max_size=12), SHAPES, st.floats(0.01, 2), st.floats(0.1, 3))
def test_what_reshapes_others_tokens_leaves_the_policys_own_alone(tokens, shape, gamma, weight):
    loss = token_loss(off_reshape=shape, off_gamma=gamma, off_policy_weight=weight, off_max=0.5)
    got, (logp, old, advantage, off) = priced(loss, tokens)
    today = clipped_surrogate((logp - old).exp(), advantage, **BOUNDS)
    assert got.loss[~off].tolist() == today[~off].tolist()


@given(st.lists(TOKEN, min_size=1, max_size=12), SHAPES, st.floats(0.01, 2), st.floats(0.1, 3))
def test_what_reshapes_the_policys_own_tokens_leaves_others_alone(tokens, shape, gamma, weight):
    got, _ = priced(token_loss(on_reshape=shape, on_gamma=gamma, on_policy_weight=weight), tokens)
    plain, (*_, off) = priced(token_loss(), tokens)
    assert got.loss[off].tolist() == plain.loss[off].tolist()


@given(st.lists(TOKEN, min_size=1, max_size=12))
def test_others_tokens_are_never_clipped(tokens):
    clipped_too, (*_, off) = priced(token_loss(), tokens)
    never, _ = priced(token_loss(), tokens, bounds=None)
    assert clipped_too.loss[off].tolist() == never.loss[off].tolist()
    assert not clipped_too.cut[off].any()


def test_an_advantage_is_weighed_by_author():
    one = (-1.0, -1.5, 2.0)
    got, _ = priced(token_loss(off_policy_weight=0.3, on_policy_weight=0.7), [(*one, False), (*one, True)], None)
    ratio = np.exp(0.5)
    assert got.loss[0].tolist() == pytest.approx([-1.4 * ratio, -0.6 * ratio], abs=1e-12)


def test_the_clip_is_of_what_was_reshaped():
    # r = 1.3: its root is 1.14, within 1.2, while r itself is beyond it
    token = [(np.log(0.65), np.log(0.5), 1.0, False)]
    assert priced(token_loss(on_reshape="square_root"), token)[0].loss.item() == pytest.approx(-np.sqrt(1.3))
    assert priced(token_loss(), token)[0].loss.item() == pytest.approx(-1.2)


def test_the_dual_clip_bounds_the_policys_own_alone():
    bounds = {**BOUNDS, "clip_dual": 3.0}
    got, _ = priced(token_loss(), [(0.0, -2.0, -1.0, False), (0.0, -2.0, -1.0, True)], bounds)
    assert got.loss[0].tolist() == pytest.approx([3.0, np.exp(2.0)], abs=1e-12)


@pytest.mark.parametrize("off", [False, True])
def test_what_is_too_likely_is_left_out_whoever_wrote_it(off):
    loss = token_loss(all_max=0.8)
    logp = torch.tensor([[np.log(0.79), np.log(0.81)]], dtype=F64, requires_grad=True)
    old = torch.full_like(logp, -0.5).detach()
    got = loss(logp, old, torch.ones_like(old), torch.full((1, 2), off), logp - old, None)
    got.loss.sum().backward()
    assert got.loss[0, 1] == logp.grad[0, 1] == 0
    assert got.loss[0, 0] == logp.grad[0, 0] != 0  # -r, and its derivative
    assert loss.kept(logp).tolist() == [[True, False]]
    assert token_loss().kept(logp).tolist() == [[True, True]]


def test_no_gradient_where_a_bound_holds_it():
    logp = torch.tensor([[-1.0, -3.0]], dtype=F64, requires_grad=True)
    zero = torch.zeros(1, 2, dtype=F64)
    got = token_loss(off_min=0.1, off_max=0.3)(logp, zero, zero + 2, zero == 0, logp, None)
    got.loss.sum().backward()
    assert got.loss[0].tolist() == pytest.approx([-0.6, -0.2], abs=1e-12)
    assert logp.grad.tolist() == [[0, 0]]
    assert got.cut.tolist() == [[1, 1]]


def test_no_gradient_flows_into_the_constants():
    logp, old, advantage = (torch.full((1, 2), value, dtype=F64, requires_grad=True) for value in (-0.6, -0.7, 1.5))
    off = torch.tensor([[False, True]])
    token_loss(off_reshape="gamma")(logp, old, advantage, off, logp - old.detach(), BOUNDS).loss.sum().backward()
    assert (logp.grad != 0).all()
    assert old.grad is None
    assert advantage.grad is None


@pytest.mark.parametrize(
    ("clip", "guided", "clips"),
    [
        ("always", False, True),
        ("always", True, True),
        ("unguided", False, True),
        ("unguided", True, False),
        ("never", False, False),
        ("never", True, False),
    ],
)
def test_when_it_clips(clip, guided, clips):
    assert token_loss(clip=clip).clips(guided=guided) == clips


def test_shapes_that_would_broadcast_are_refused():
    two = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"advantage \[2, 1\].*expected one \[B, T\] for all"):
        token_loss()(two, two, torch.zeros(2, 1), two > 0, two, None)
