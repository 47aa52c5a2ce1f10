"""What is typed wrong, or not there, is told before anything is asked."""

from __future__ import annotations

import pytest
from collecting import LAB, asks


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--endpoint", "ftp://h/v1", "--model", "r1"], "--endpoint=ftp://h/v1: it is no address"),
        (["--endpoint", "http://", "--model", "r1"], "it is no address"),
        (["--endpoint", "http://h:x/v1", "--model", "r1"], "it is no address"),
        (["--endpoint", "http://me:sk-1@h/v1", "--model", "r1"], "put the key into an environment variable"),
        (["--endpoint", "http://h/v1"], "--model=null: the endpoint has to be told a model"),
        (["--endpoint", "http://h/v1", "--model", "r1", "--key-env", "NO_SUCH"], "--key-env=NO_SUCH: there is no such"),
        (["--endpoint", "http://h/v1", "--model", "r1", "--body", "{"], "--body={: not JSON"),
        (["--endpoint", "http://h/v1", "--model", "r1", "--body", "[]"], "not a JSON object"),
        (["--endpoint", "http://h/v1", "--model", "r1", "--body", '{"stream": true}'], "stream is not for it to say"),
        (["--endpoint", "http://h/v1", "--model", "r1", "--price-in", "1"], "a cost needs both"),
        (["--endpoint", "http://h/v1", "--model", "r1", "--out", "x.txt"], "name a .jsonl"),
        (["--own", "--temperature", "1"], "--temperature=1.0: with --own there is no endpoint to tell"),
        (["--own", "--endpoint", "http://h/v1"], "not allowed with"),
        ([], "one of the arguments --endpoint --own is required"),
        (["--own", "--samples", "0"], "0: it must be 1 or more"),
        (["--own", "--timeout", "0"], "0: it must be more than 0"),
        (["--own", "--timeout", "nan"], "nan: it must be more than 0"),
        (["--own", "--samples", "x"], "invalid int value: 'x'"),
        (["--own", "dataset=lab_additon"], "lab_addition"),
        (["--own", "reward.success_at=high"], "reward.success_at"),
    ],
)
def test_what_is_typed_wrong_is_told_before_anything_is_asked(collect, tmp_path, arguments, said):
    code, told = collect(*arguments)
    assert code == 2
    assert said in told
    assert "sk-1" not in told
    assert not list(tmp_path.iterdir())


def test_a_key_that_can_be_none_is_refused_unseen(collect, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1\nsk-2")
    code, said = collect(*asks("http://h/v1"))
    assert code == 2
    assert "$OPENAI_API_KEY: what it holds cannot be a key" in said
    assert "sk-" not in said


@pytest.mark.parametrize(
    ("lab", "said"),
    [
        (["dataset=gsm8k", "dataset.path=/no/data", "model=scratch"], "dataset.path=/no/data"),
        (["model=hf", "model.path=/no/model"], "model.path=/no/model"),
        (["model=hf", "model.path=no/model"], "no/model"),
        ([*LAB, "dataset.traces=some"], "dataset.traces"),
    ],
)
def test_what_is_not_there_is_told(collect, lab, said):
    code, told = collect(*asks("http://h/v1"), lab=lab)
    assert code == 2
    assert said in told
