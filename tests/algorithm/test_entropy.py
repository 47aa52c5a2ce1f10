"""The coefficient of the entropy bonus: what one update makes of it, by hand and against torch's Adam."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmft.algorithm.entropy import EntropyCoefficient

ENTROPIES = [0.5, 0.7, 1.3, 1.1, 0.2, 0.9]


def after(coefficient, entropies):
    values = []
    for entropy in entropies:
        coefficient.adapt(entropy)
        values.append(coefficient.value)
    return values


def test_without_a_target_it_is_a_constant():
    coefficient = EntropyCoefficient(0.01, None, None)
    assert after(coefficient, ENTROPIES) == [0.01] * 6
    assert coefficient.state_dict() == {}


def test_in_proportion():
    # coef · target/H: half the entropy, twice the weight; of the update's entropy alone, not of the last value
    assert after(EntropyCoefficient(0.01, 1.0, None), [0.5, 2.0, 1.0]) == pytest.approx([0.02, 0.005, 0.01], abs=1e-15)
    assert after(EntropyCoefficient(0.01, 1.0, None), [0.0]) == pytest.approx([0.01 / 1e-6])


def test_the_first_two_learned_steps_by_hand():
    # g₁ = 0.01·(0.5 - 1) = -0.005: m̂/√v̂ = g₁/|g₁| = -1 up to 1e-8/0.005, so the logarithm rises by lr
    first = 0.01 * math.exp(0.1 * 0.005 / (0.005 + 1e-8))
    # g₂ = value·(1.5 - 1); m̂ = (0.9·0.1·g₁ + 0.1·g₂)/(1 - 0.81), v̂ = (0.999·0.001·g₁² + 0.001·g₂²)/(1 - 0.998001)
    g1, g2 = -0.005, first * 0.5
    mean, square = (0.09 * g1 + 0.1 * g2) / 0.19, (0.000999 * g1**2 + 0.001 * g2**2) / 0.001999
    second = first * math.exp(-0.1 * mean / (math.sqrt(square) + 1e-8))
    assert after(EntropyCoefficient(0.01, 1.0, 0.1), [0.5, 1.5]) == pytest.approx([first, second], rel=1e-12)


def test_learned_as_adam_descends():
    logarithm = torch.tensor(math.log(0.01), dtype=torch.float64, requires_grad=True)
    adam, expected = torch.optim.Adam([logarithm], lr=0.03), []
    for entropy in ENTROPIES:
        adam.zero_grad()
        (logarithm.exp() * (entropy - 0.8)).backward()
        adam.step()
        expected.append(logarithm.exp().item())
    assert after(EntropyCoefficient(0.01, 0.8, 0.03), ENTROPIES) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("lr", [None, 0.03])
@pytest.mark.parametrize("cut", range(6))
def test_kept_in_a_checkpoint_to_the_bit(lr, cut):
    whole, first = EntropyCoefficient(0.01, 0.8, lr), EntropyCoefficient(0.01, 0.8, lr)
    expected = after(whole, ENTROPIES)
    made = after(first, ENTROPIES[:cut])
    second = EntropyCoefficient(0.01, 0.8, lr)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert made + after(second, ENTROPIES[cut:]) == expected


def test_a_run_continued_with_another_constant_takes_it():
    coefficient = EntropyCoefficient(0.02, None, None)
    coefficient.load_state_dict({"value": 0.5, "updates": 3, "mean": 0.1, "square": 0.1})
    assert coefficient.value == 0.02


@given(st.lists(st.floats(0, 5), max_size=30), st.sampled_from([None, 0.01, 1.0]))
def test_it_stays_a_positive_number(entropies, lr):
    assert all(0 < value < math.inf for value in after(EntropyCoefficient(0.001, 1.0, lr), entropies))


@pytest.mark.parametrize("lr", [None, 0.1])
@pytest.mark.parametrize("entropy", [math.nan, math.inf])
def test_what_is_no_number_teaches_nothing(lr, entropy):
    coefficient = EntropyCoefficient(0.01, 1.0, lr)
    coefficient.adapt(entropy)
    assert (coefficient.value, coefficient.updates) == (0.01, 0)


def test_nothing_times_a_factor_is_refused():
    with pytest.raises(ValueError, match=r"algorithm.entropy_coef=0.0: .*begin with a small one"):
        EntropyCoefficient(0.0, 1.0, None)
