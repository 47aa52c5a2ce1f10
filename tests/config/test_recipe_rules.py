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
    faults = [str(one) for one in find_faults(compose([f"algorithm.{one}" for one in overrides]))]
    assert len(faults) == 1
    assert faults[0].startswith(fault)


@pytest.mark.parametrize(
    "overrides",
    [
        ["algorithm.clip_low=1", "algorithm.clip_high=0"],
        ["algorithm.clip_dual=3.0"],
        ["algorithm=dapo", "algorithm.overlong_buffer=0", "algorithm.refills=0"],
        ["algorithm.entropy_coef=0.001", "algorithm.entropy_target=1.0"],
        ["algorithm.entropy_coef=0.001", "algorithm.entropy_target=1.0", "algorithm.entropy_lr=0.01"],
        ["algorithm=sft"],
    ],
)
def test_accepted(overrides):
    assert find_faults(compose(overrides)) == []
