"""HumanEval's rows become tasks with the official tests."""

from __future__ import annotations

import gzip
import json

import pytest

from llmft.dataset.humaneval import HumanEval, fenced
from llmft.types import Check

PROMPT = 'def add_one(x: int) -> int:\n    """ Add.\n    >>> add_one(1)\n    2\n    """\n'
TEST = "\n\nMETADATA = {}\n\n\ndef check(candidate):\n    assert candidate(1) == 2\n\n"
ROW = {
    "task_id": "HumanEval/7",
    "prompt": PROMPT,
    "canonical_solution": "    return x + 1\n",
    "test": TEST,
    "entry_point": "add_one",
}


def humaneval(path, **changes) -> HumanEval:
    settings = {
        "path": str(path),
        "instruction": "Do it.",
        "heldout": 0,
        "seed": 0,
        "answer_form": "{answer}",
        "form_pattern": None,
        "limit": None,
        "trace_file": None,
        "base": "none",
        "response_tokens": 64,
    }
    return HumanEval(**{**settings, **changes})


def write(path, *rows):
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


def test_a_task(tmp_path):
    (task,) = humaneval(write(tmp_path / "HumanEval.jsonl.gz", ROW)).load().train
    assert (task.id, task.kind, task.answer) == ("HumanEval/7", "coding", None)
    assert task.messages == ({"role": "user", "content": f"Do it.\n\n```python\n{PROMPT}```"},)
    assert [trace.text for trace in task.traces] == [f"```python\n{PROMPT}    return x + 1\n```"]
    assert task.tests == (Check("asserts", TEST.rstrip() + "\n\ncheck(add_one)\n"),)
    assert task.meta == {"row": "HumanEval.jsonl.gz:1", "entry_point": "add_one"}


def test_a_fence_is_longer_than_what_it_holds():
    assert fenced("x = 1\n") == "```python\nx = 1\n```"
    assert fenced("'''\n```\n'''") == "````python\n'''\n```\n'''\n````"


def test_plain_jsonl_carving_and_limit(tmp_path):
    rows = [{**ROW, "task_id": f"HumanEval/{n}", "prompt": PROMPT.replace("Add", f"Add {n}")} for n in range(9)]
    path = tmp_path / "h.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    splits = humaneval(path, heldout=3).load()
    assert (len(splits.train), len(splits.heldout), len(splits.test)) == (6, 3, 0)
    assert [len(digest) for digest in splits.hashes.values()] == [64]
    assert len(humaneval(path, limit=2).load().train) == 2
    with pytest.raises(ValueError, match=r"dataset\.heldout=9: none of 9 tasks is left"):
        humaneval(path, heldout=9).load()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"prompt": ""}, "'prompt' is empty"),
        ({"test": None}, "'test' is empty"),
        ({"entry_point": "other"}, "'prompt' does not define 'other', its 'entry_point'"),
        ({"prompt": "def f(:"}, r"'prompt' is no Python \("),
    ],
)
def test_rows_that_cannot_be_used(tmp_path, changes, why):
    path = write(tmp_path / "HumanEval.jsonl.gz", ROW, {**ROW, **changes})
    with pytest.raises(ValueError, match=rf"1 of 2 rows cannot be used(?s:.*)\n  HumanEval\.jsonl\.gz:2: {why}"):
        humaneval(path).load()


def test_files_that_cannot_be_read(tmp_path):
    whole = write(tmp_path / "HumanEval.jsonl.gz", ROW).read_bytes()
    for content in (whole[:40], b"{}", b"\x1f\x8b" + b"\0" * 40):
        (tmp_path / "broken.jsonl.gz").write_bytes(content)
        with pytest.raises(ValueError, match=r"broken\.jsonl\.gz is not gzip, or broken off"):
            humaneval(tmp_path / "broken.jsonl.gz").load()
    with pytest.raises(ValueError, match=r"missing\.jsonl\.gz: there is no such file"):
        humaneval("missing.jsonl.gz").load()


def test_the_published_file(shared):
    from llmft.config import build, compose

    path = shared("data/humaneval/HumanEval.jsonl.gz")
    splits = build(compose(["dataset=humaneval", f"dataset.path={path}", "reward=coding"]).dataset).load()
    assert (len(splits.train), len(splits.heldout)) == (100, 64)
    assert all(task.tests[0].source.endswith(f"check({task.meta['entry_point']})\n") for task in splits.heldout)
