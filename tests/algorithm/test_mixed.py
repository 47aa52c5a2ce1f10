"""Groups with rows by others: no way of cutting an update up changes its gradient, and metrics say whose tokens."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmft.loss.policy import clipped_surrogate
from llmft.seeds import Seeds

F64 = torch.float64
AVERAGES = st.sampled_from([("token", None), ("sequence", None), ("constant", 64.0), ("row_constant", 8.0)])
SHAPES = st.sampled_from(["none", "logp", "p_logp", "square_root", "pow", "gamma"])
GROUPS = st.lists(
    st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, None]), st.integers(1, 8)), min_size=3, max_size=3),
    min_size=3,
    max_size=3,
)


def collect(parts, algorithm, groups):
    tasks = [parts.task(number, *zip(*group, strict=True)) for number, group in enumerate(groups)]
    return algorithm.collect(parts.Stream(tasks), Seeds(0))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(AVERAGES, SHAPES, GROUPS, st.data())
def test_the_micro_batch_does_not_change_the_gradient(parts, policy, average, shape, groups, data):
    def one_of(*values):
        return data.draw(st.sampled_from(values))

    loss = parts.token_loss(
        off_reshape=shape,
        off_max=one_of(None, 0.01),
        on_reshape=one_of("none", "square_root"),
        off_policy_weight=one_of(1.0, 0.5),
        all_max=one_of(None, 0.008),
        clip=one_of("always", "unguided", "never"),
        sft_coef=one_of(0.0, 0.3),
    )
    algorithm = parts.policy_optimization(
        policy,
        parts.Giving(),
        loss=loss,
        tasks_per_step=3,
        group_size=3,
        mini_batches=one_of(1, 2),
        advantage=one_of("group", "group_std", "leave_one_out"),
        baseline=one_of("union", "own"),
        average=average[0],
        length=average[1],
        mask_truncated=one_of(False, True),
        kl_coef=(kl := one_of(0.0, 0.1)),
        entropy_coef=one_of(0.0, 0.01),
        entropy_average=one_of(None, "token", "sequence"),
    )
    if kl:
        parts.shake(policy)  # or its gradient is one of rounding errors
    for update in collect(parts, algorithm, groups).updates:
        if not len(update):
            continue
        whole, metrics = parts.gradient(algorithm, policy, update, None)
        for micro_batch in (1, 3):
            got, sums = parts.gradient(algorithm, policy, update, micro_batch)
            assert (got - whole).norm() <= 1e-9 * whole.norm()
            assert sums == pytest.approx(metrics, rel=1e-9, abs=1e-12)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(AVERAGES, GROUPS, SHAPES, st.booleans())
def test_without_others_rows_nothing_is_reshaped(parts, policy, average, groups, shape, own):
    """LUFFY of groups that the policy wrote alone is the surrogate of any other recipe."""
    options = {"tasks_per_step": 3, "group_size": 3, "average": average[0], "length": average[1]}
    loss = parts.token_loss(off_reshape=shape, off_max=0.5, off_policy_weight=3.0)
    algorithm = parts.policy_optimization(policy, loss=loss, baseline="own" if own else "union", **options)
    algorithm.packing = algorithm.packing._replace(dtype=F64)
    (update,) = collect(parts, algorithm, groups).updates
    if len(update):
        got, metrics = algorithm.loss(policy, update)
        ratio = torch.exp(policy.logp(update, temperature=0.7) - update.logp)
        today = clipped_surrogate(ratio, update.advantage, clip_low=0.2, clip_high=0.2, clip_dual=None)
        assert got.item() == (today * update.weight).sum().item()
        assert not any("off_policy" in name for name in metrics)


GROUP = [(1, 4), (0, 2), (1, 6)]  # rewards and lengths; the last is given


def test_what_is_told_of_others_rows(parts, policy):
    algorithm = parts.policy_optimization(
        policy, parts.Giving(), tasks_per_step=3, group_size=3, loss=parts.token_loss(off_reshape="gamma")
    )
    algorithm.packing = algorithm.packing._replace(dtype=F64)
    step = collect(parts, algorithm, [GROUP, [(0, 4), (1, 2), (0, 6)], [(0, 1), (0, 1), (1, 2)]])
    metrics = step.metrics
    # a trace that is right, a trace that was begun and came out wrong, a replay that is right
    assert (metrics["train/accuracy/trace"], metrics["train/accuracy/replay"]) == (1 / 2, 1)
    assert metrics["train/accuracy"] == 2 / 6
    assert metrics["train/length_mean"] == (4 + 2 + 4 + 2 + 1 + 1) / 6
    assert metrics["speed/generated_tokens"] == 14 + 3  # of the trace that was begun, its second half
    (update,) = step.updates
    _, told = algorithm.loss(policy, update)
    logp, off = policy.logp(update, temperature=0.7), update.off_policy
    x = (logp - update.logp)[off].exp()
    assert told["train/off_policy_share"].item() == pytest.approx((6 + 3 + 2) / (14 + 3 + 11), abs=1e-12)
    assert told["train/off_policy_prob"].item() == pytest.approx(logp[off].exp().mean().item(), abs=1e-12)
    assert told["train/off_policy_weight"].item() == pytest.approx((x / (x + 0.1)).mean().item(), abs=1e-12)


def test_a_step_without_a_verdict_tells_none(parts, policy):
    algorithm = parts.policy_optimization(policy, parts.Giving(), tasks_per_step=3, group_size=3)
    step = collect(parts, algorithm, [[(1, 4), (0, 2), (None, 6)], GROUP, [(0, 1), (0, 1), (None, 2)]])
    assert step.metrics["train/accuracy/trace"] == 1  # the other failed
    assert "train/accuracy/replay" not in step.metrics
    assert step.metrics["train/failed"] == 2


def test_the_guidances_metrics_are_the_steps(parts, policy):
    guidance = parts.Giving()
    guidance.metrics = lambda: {"guidance/replayed": float(len(guidance.seen))}
    algorithm = parts.policy_optimization(policy, guidance, tasks_per_step=3, group_size=3)
    assert collect(parts, algorithm, [GROUP] * 3).metrics["guidance/replayed"] == 3  # told after it observed


@pytest.mark.parametrize(("clip", "guiding", "cut"), [("unguided", True, False), ("unguided", False, True)])
@pytest.mark.parametrize("switches", [False, True])
def test_clipping_goes_by_when_the_step_was_collected(parts, policy, clip, guiding, cut, switches):
    guidance = parts.Watching()
    guidance.guiding = guiding
    if switches:  # what the guidance sees of this step decides about the next
        guidance.observe = lambda groups: setattr(guidance, "guiding", not guiding)
    algorithm = parts.policy_optimization(
        policy, guidance, loss=parts.token_loss(clip=clip), tasks_per_step=1, group_size=2, advantage="group"
    )
    (update,) = collect(parts, algorithm, [[(1, 4), (0, 2)]]).updates
    far = replace(update, logp=update.logp - 9)  # every ratio is huge
    loss = algorithm.price(policy.logp(far, temperature=0.7), far).loss[0]
    assert (loss[loss != 0] > -0.61).all().item() == cut  # clipped at 1.2 times ½
    assert ("train/off_policy_share" in algorithm.loss(policy, update)[1]) == guiding


def test_too_likely_tokens_shrink_the_number_that_the_loss_is_averaged_over(parts, policy):
    """Counted with the weights that the step begins with, and over rows that teach nothing too; left out by those of now."""
    groups = [GROUP, [(1, 4), (1, 2), (1, 6)], GROUP]
    for average, denominator in (("token", "tokens"), ("sequence", "rows"), ("row_constant", "rows"), ("constant", "")):
        options = {"average": average, "length": 8.0, "tasks_per_step": 3, "group_size": 3}
        algorithm = parts.policy_optimization(policy, parts.Giving(), loss=parts.token_loss(all_max=0.004), **options)
        algorithm.packing = algorithm.packing._replace(dtype=F64)
        step = collect(parts, algorithm, groups)
        (update,) = step.updates
        everything = algorithm.packing._replace(keep_all=True).batch(step.rollouts, guided=True)
        trained = everything.weight != 0
        kept = (policy.logp(everything, temperature=0.7).exp() <= 0.004) & trained
        assert 0 < kept.sum() < trained.sum()
        expected = {"tokens": float(kept.sum()), "rows": float(kept.any(1).sum())}.get(denominator, 1.0)
        expected *= {"sequence": kept.sum(1, keepdim=True), "token": 1}.get(average, 8)
        weight = (torch.ones_like(everything.weight) / expected)[kept]
        assert everything.weight[kept].tolist() == pytest.approx(weight.tolist(), abs=1e-12)
        logp = policy.logp(update, temperature=0.7)
        left_out = (logp.exp() > 0.004) & (update.weight != 0)
        assert (update.weight[left_out] > 0).all()  # should they become rare, they are trained
        assert (algorithm.price(logp, update).loss[left_out] == 0).all()
        assert math.isfinite(algorithm.loss(policy, update)[0].item())


GROUPS_OF_ALL_KINDS = [GROUP, [(0, 4), (1, 2), (0, 6)], [(0, 1), (0, 1), (1, 2)]]


def loss_of(parts, policy, loss=None, **changes):
    """The loss of the one update on groups with a trace, a trace that was begun and a replay; and the update."""
    loss = loss or parts.token_loss()
    algorithm = parts.policy_optimization(policy, parts.Giving(), loss=loss, tasks_per_step=3, group_size=3, **changes)
    algorithm.packing = algorithm.packing._replace(dtype=F64)
    (update,) = collect(parts, algorithm, GROUPS_OF_ALL_KINDS).updates
    return algorithm.loss(policy, update)[0].item(), update


def test_everything_that_others_wrote_is_imitated(parts, policy):
    (once, update), (twice, _) = (loss_of(parts, policy, parts.token_loss(sft_coef=coef)) for coef in (0.3, 0.6))
    logp = policy.logp(update, temperature=0.7)
    assert int(update.off_policy.sum()) == 6 + 3 + 2  # the replay's two among them
    assert twice - once == pytest.approx(0.3 * -logp[update.off_policy].mean().item(), abs=1e-12)


@pytest.mark.parametrize("average", ["token", "sequence"])
def test_the_bonus_for_entropy_has_an_average_of_its_own(parts, policy, average):
    constant = {"average": "constant", "length": 64.0}
    with_bonus, update = loss_of(parts, policy, entropy_coef=0.1, entropy_average=average, **constant)
    without, _ = loss_of(parts, policy, **constant)
    entropy = policy.scores(update, temperature=0.7, entropy="value").entropy
    rows = [row[row != 0] for row in entropy]
    assert sorted(map(len, rows)) == sorted([4, 2, 6, 4, 2, 6, 1, 1, 2])
    mean = torch.cat(rows).mean() if average == "token" else torch.stack([row.mean() for row in rows]).mean()
    assert with_bonus - without == pytest.approx(-0.1 * mean.item(), abs=1e-12)
