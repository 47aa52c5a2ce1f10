import numpy as np
import pytest
from scipy import stats

from llmft.sampler.streams import splitmix, uniforms


def test_splitmix_is_the_published_generator():
    """The first outputs for seed 1234567, as published with SplitMix64's reference code."""
    seed = np.uint64(1234567)
    assert [int(word) for word in splitmix(seed, np.arange(5, dtype=np.uint64))] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_a_number_is_a_function_of_stream_completion_and_position():
    alone = uniforms([77], [3], 40)
    together = uniforms([5, 77, 77, 2**64 - 1], [0, 2, 3, 9], 100)
    assert np.array_equal(alone[0], together[2, :40])
    assert np.array_equal(alone, uniforms([77], [3], 40))


def test_numbers_are_below_one_and_of_53_bits():
    values = uniforms(range(100), [0] * 100, 1000)
    assert values.min() >= 0
    assert values.max() < 1
    assert values.max() > 1 - 1e-4
    scaled = values * 2.0**53
    assert np.array_equal(scaled, np.floor(scaled))
    assert (scaled % 2).mean() == pytest.approx(0.5, abs=0.01)  # the last bit is used


def numbers(kind):
    """About a million numbers along one axis at a time: what the streams, completions or positions are varies."""
    size = 1 << 20
    if kind == "positions":
        return uniforms([1], [0], size)[0]
    if kind == "completions":
        return uniforms([1] * size, range(size), 1)[:, 0]
    if kind == "streams":
        return uniforms(range(size), [0] * size, 1)[:, 0]
    return uniforms(np.repeat(np.arange(1024), 32).tolist(), list(range(32)) * 1024, 32).ravel()


@pytest.mark.parametrize("kind", ["positions", "completions", "streams", "all"])
def test_uniformity(kind):
    values = numbers(kind)
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    for cells in (10, 1000):
        assert stats.chisquare(np.bincount((values * cells).astype(int), minlength=cells)).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["positions", "completions", "streams"])
@pytest.mark.parametrize("lag", [1, 2, 8, 64])
def test_neighbours_are_independent(kind, lag):
    values = numbers(kind)
    cell = (values * 32).astype(int)
    table = np.bincount(cell[:-lag] * 32 + cell[lag:], minlength=1024).reshape(32, 32)
    assert stats.chi2_contingency(table).pvalue > 1e-4


def test_rows_are_independent_of_each_other():
    """Correlations of 64 rows of consecutive streams and completions: standard normal once scaled."""
    rows = uniforms([stream for stream in range(8) for _ in range(8)], list(range(8)) * 8, 4096)
    correlation = np.corrcoef(rows)[np.triu_indices(64, 1)] * np.sqrt(4096)
    assert stats.kstest(correlation, "norm").pvalue > 1e-3
    assert abs(correlation).max() < 5
