"""Recipes that cannot be: refused from the config alone, with what to do."""

import pytest

from llmft.config import compose
from llmft.config.checks import find_faults


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (
            ["clip_low=-0.3"],
            "algorithm.clip_low=-0.3: it is how far below 1 the ratio may fall: with less than 0 the bounds cross, "
            "with more than 1 there is none; use 0 to 1",
        ),
        (
            ["clip_low=1.2"],
            "algorithm.clip_low=1.2: it is how far below 1 ",
        ),  # the bound itself, in place of its distance
        (["clip_high=-0.3"], "algorithm.clip_high=-0.3: it is how far above 1 the ratio may rise: with less than 0 "),
        (
            ["clip_dual=1.28", "clip_high=0.28"],
            "algorithm.clip_dual=1.28: it would cut gradients of ratios that algorithm.clip_high=0.28 leaves free, "
            "those up to 1.28; use more than that (3.0 is usual), or null for no such bound",
        ),
        (["clip_dual=0.5"], "algorithm.clip_dual=0.5: expected greater than 1"),
        (
            ["overlong_buffer=4096"],
            "algorithm.overlong_buffer=4096: it is a share of rollout.max_new_tokens; use 0 to 1",
        ),
        (
            ["entropy_target=1.0"],
            "algorithm.entropy_coef=0.0: algorithm.entropy_target=1.0 adapts it by factors, which leave 0 as it is; "
            "begin with a small one, for instance 0.001",
        ),
        (
            ["entropy_lr=0.01", "entropy_coef=0.001"],
            "algorithm.entropy_lr=0.01: nothing is learned without algorithm.entropy_target; give a target, in nats",
        ),
        (["refills=-1"], "algorithm.refills=-1: expected greater than or equal to 0"),
        (["ratio=sequence"], "algorithm.ratio=sequence: expected 'token', 'sequence_mean' or 'sequence_product'"),
        (["advantage=std"], "algorithm.advantage=std: expected 'group', 'group_std' or 'leave_one_out'"),
        (["kl_estimator=k4"], "algorithm.kl_estimator=k4: expected 'k1', 'k2' or 'k3'"),
    ],
)
def test_refused(overrides, fault):
    refused([f"algorithm.{one}" for one in overrides], fault)


def refused(overrides, fault):
    faults = [str(one) for one in find_faults(compose(overrides))]
    assert len(faults) == 1
    assert faults[0].startswith(fault)


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (["loss.off_gamma=0"], "loss.off_gamma=0: x/(x+gamma) is 1 for any ratio x with 0, and no shape with less;"),
        (["algorithm=luffy", "loss.off_gamma=-0.1"], "loss.off_gamma=-0.1: x/(x+gamma) is 1 for any ratio x with 0, "),
        (["loss.on_gamma=0"], "loss.on_gamma=0: x/(x+gamma) is 1 for any ratio x with 0, and no shape with less; "),
        (["loss.off_power=0"], "loss.off_power=0: x^0 is 1 for any ratio x, and has no gradient; use more than 0,"),
        (["loss.all_max=1.5"], "loss.all_max=1.5: it is a probability; use more than 0 and at most 1, or null"),
        (["loss.off_reshape=p_div_p"], "loss.off_reshape=p_div_p: expected 'none', 'logp', 'p_logp', 'square_root',"),
        (["loss.clip=false"], "loss.clip=false: expected 'always', 'unguided' or 'never'"),
        (["algorithm.baseline=split"], "algorithm.baseline=split: expected 'union' or 'own'"),
        (
            ["loss.off_min=0.5", "loss.off_max=0.5"],
            "loss.off_min=0.5: nothing lies between it and loss.off_max=0.5, so that no such token would have a "
            "gradient; use less than that, or null for no bound",
        ),
        (
            ["algorithm=gspo", "loss.on_reshape=gamma"],
            "loss.on_reshape=gamma: it is made of a token's probabilities, and algorithm.ratio=sequence_mean has one "
            "ratio for a response; use algorithm.ratio=token, or another shape",
        ),
        (
            ["algorithm=rl_sft_loss", "guidance=none"],
            "loss.sft_coef=1.0: it weighs responses that somebody else wrote, and guidance=none adds none; choose",
        ),
        (
            ["algorithm=rl_sft_loss", "algorithm.group_size=2"],
            "algorithm.baseline=own: with guidance.per_group=1 of algorithm.group_size=2 responses there are no two to "
            "compare; use larger groups, or union",
        ),
    ],
)
def test_a_loss_that_cannot_be(overrides, fault):
    refused(overrides, fault)


@pytest.mark.parametrize(
    "overrides",
    [
        ["algorithm.clip_low=1", "algorithm.clip_high=0"],
        ["algorithm.clip_dual=3.0"],
        ["algorithm=dapo", "algorithm.overlong_buffer=0", "algorithm.refills=0"],
        ["algorithm.entropy_coef=0.001", "algorithm.entropy_target=1.0"],
        ["algorithm.entropy_coef=0.001", "algorithm.entropy_target=1.0", "algorithm.entropy_lr=0.01"],
        ["algorithm=sft"],
        ["algorithm=gspo", "loss.on_reshape=square_root"],
        ["algorithm=luffy", "loss.off_min=0.1", "loss.off_max=0.9", "loss.all_max=0.95", "loss=plain"],
        ["algorithm=luffy", "algorithm.group_size=2"],
        ["algorithm=rl_sft_loss", "algorithm.group_size=3"],
    ],
)
def test_accepted(overrides):
    assert find_faults(compose(overrides)) == []
