"""Every trajectory comes back as it was stored, from the tail or from a shard, before and after a checkpoint."""

from __future__ import annotations

from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmft.guidance.pool import Record
from llmft.guidance.shards import NEWEST, Shards
from llmft.trainer.checkpoint import refuse_objects


def record(step: int, *lengths: int) -> Record:
    """One outcome for each trajectory; besides them, one that brought none."""
    draw, size = Random(step), sum(lengths)
    outcomes = [[f"t{step}-{place}", 1, 5, [[draw.getrandbits(63), n, "end"]]] for place, n in enumerate(lengths)]
    return Record(
        step=step,
        outcomes=[*outcomes, [f"t{step}", 2, 5, []]],
        tokens=torch.tensor([draw.randrange(200_000) for _ in range(size)], dtype=torch.int32),
        logps=torch.tensor([-draw.random() for _ in range(size)], dtype=torch.float32),
    )


def contents(records) -> list[tuple]:
    """What should come back, by number."""
    found = []
    for one in records:
        begin = 0
        for _, _, _, rows in one["outcomes"]:
            for _, length, finish in rows:
                here = slice(begin, begin + length)
                found.append((tuple(one["tokens"][here].tolist()), tuple(one["logps"][here].tolist()), finish))
                begin += length
    return found


def read_all(shards: Shards, count: int) -> list[tuple]:
    return [tuple(shards.read(number)) for number in range(count)]


def filled(folder, records, full=8) -> Shards:
    shards = Shards(full)
    shards.folder = folder
    for one in records:
        shards.append(one)
    return shards


RECORDS = st.lists(st.lists(st.integers(1, 5), max_size=4), max_size=9).map(
    lambda steps: [record(step, *lengths) for step, lengths in enumerate(steps)]
)


@settings(max_examples=40)
@given(RECORDS, st.integers(0, 9))
def test_everything_comes_back(tmp_path_factory, records, cut):
    folder = tmp_path_factory.mktemp("shards")
    expected = contents(records)
    shards = filled(folder, records)
    assert read_all(shards, len(expected)) == expected
    assert [shards.length(number) for number in range(len(expected))] == [len(one[0]) for one in expected]
    assert sum(len(one["tokens"]) for one in shards.tail) < 8

    earlier = filled(folder, records[:cut])
    state = earlier.state_dict()
    refuse_objects(state)
    continued = Shards(8)
    continued.folder = folder
    steps = [(step, [list(one)[:3] for one in outcomes]) for step, outcomes in continued.load_state_dict(state)]
    assert steps == [(one["step"], [list(some)[:3] for some in one["outcomes"]]) for one in records[:cut]]
    for one in records[cut:]:
        continued.append(one)
    assert read_all(continued, len(expected)) == expected
    assert continued.names == shards.names, "the same shards, bit for bit"


def test_what_a_checkpoint_was_given_never_changes(tmp_path):
    shards = filled(tmp_path, [record(1, 3)])
    state = shards.state_dict()
    before = (list(state["shards"]), [one["step"] for one in state["tail"]])
    for step in range(2, 9):
        shards.append(record(step, 4))
    assert (list(state["shards"]), [one["step"] for one in state["tail"]]) == before


def test_a_checkpoint_holds_the_tail_alone(tmp_path):
    shards = filled(tmp_path, [record(step, 4) for step in range(21)], full=20)
    state = shards.state_dict()
    assert [one["step"] for one in state["tail"]] == [20]
    assert len(state["shards"]) == len(list(tmp_path.glob("0*.safetensors"))) == 4
    assert all(path.name in dict(state["shards"]) for path in tmp_path.iterdir())


def test_later_shards_are_no_concern_of_an_older_checkpoint(tmp_path):
    shards = filled(tmp_path, [record(step, 8) for step in range(2)])
    state = shards.state_dict()
    shards.append(record(2, 8))
    again = Shards(8)
    again.folder = tmp_path
    assert [step for step, _ in again.load_state_dict(state)] == [0, 1]
    again.append(record(2, 7, 3))
    assert again.read(2).token_ids == tuple(record(2, 7, 3)["tokens"][:7].tolist())
    assert len(list(tmp_path.glob("000002-*"))) == 2, "another shard of the same number has another name"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("harm", "told"), [(lambda path: path.unlink(), "not there"), (lambda path: flip(path), "not the bytes")]
)
def test_a_shard_that_is_not_as_it_was_written(harm, told, tmp_path):
    state = filled(tmp_path, [record(1, 8), record(2, 8)]).state_dict()
    harm(tmp_path / state["shards"][1][0])
    again = Shards(8)
    again.folder = tmp_path
    with pytest.raises(RuntimeError, match=f"000001-.*: {told}"):
        list(again.load_state_dict(state))


def flip(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def test_a_disk_that_takes_nothing(tmp_path):
    shards = filled(tmp_path / "gone", [record(1, 3)])
    with pytest.raises(RuntimeError, match="cannot be written"):
        shards.append(record(2, 8))


def test_the_newest_file_is_a_checkpoint_of_its_own(tmp_path):
    records = [record(step, 3, 2) for step in range(4)]
    shards = filled(tmp_path, records)
    shards.keep_newest({"tokens": "x"})
    header, state = Shards.newest_of(tmp_path)
    assert header == {"tokens": "x"}
    other = Shards(8)
    other.folder = tmp_path
    assert [step for step, _ in other.load_state_dict(state)] == [0, 1, 2, 3]
    assert read_all(other, 8) == contents(records)


@pytest.mark.parametrize("data", [None, b"", b"not such a file", (5).to_bytes(8, "little") + b"{}   "])
def test_a_newest_file_that_is_none(data, tmp_path):
    if data is not None:
        (tmp_path / NEWEST).write_bytes(data)
    with pytest.raises(ValueError, match=f"{NEWEST}: cannot be read"):
        Shards.newest_of(tmp_path)
