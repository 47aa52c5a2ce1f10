"""The file of traces: what is there, what is asked for again, and what a kill leaves."""

from __future__ import annotations

import json

import pytest

from llmft.config import ConfigError
from llmft.guidance.collect.collected import ACCEPTED, CUT, FAILED, REJECTED, Collected, fingerprint
from llmft.types import Task


def task(text: str) -> Task:
    return Task(f"id of {text}", ({"role": "system", "content": "Add."}, {"role": "user", "content": text}), "math")


def row(one: Task, verdict: str = ACCEPTED, *, sample: int = 0, asked: str = "a", source: str = "r1", **more):
    told = {"key": fingerprint(one.messages), "source": source, "sample": sample, "asked": asked, "trace": "ä\n#2"}
    counts = {"prompt_tokens": 10, "answer_tokens": 5, "cost": 0.25}
    return {**told, "accepted": verdict == ACCEPTED, "verdict": verdict, **counts, **more}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "made" / "traces.jsonl"


def write(out, *rows, keep_all=False):
    with Collected(out, keep_all=keep_all) as file:
        for one in rows:
            file.add(one)
    return file


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_accepted_rows_stand_alone(out):
    rows = [row(task("1+1="), verdict, sample=n) for n, verdict in enumerate((ACCEPTED, REJECTED, CUT, FAILED))]
    write(out, *rows)
    assert lines(out) == rows[:1]
    assert lines(out.with_name("traces.rejected.jsonl")) == rows[1:]


def test_all_rows_in_one_file(out):
    rows = [row(task("1+1=")), row(task("1+2="), REJECTED)]
    write(out, *rows, keep_all=True)
    assert lines(out) == rows
    assert not out.with_name("traces.rejected.jsonl").exists()


def test_a_file_of_nothing_is_not_left(out):
    write(out)
    assert not list(out.parent.iterdir())


def test_what_is_there_is_not_asked_for_again(out):
    write(out, row(task("1+1=")), row(task("1+2="), REJECTED), row(task("1+3="), CUT), row(task("1+4="), FAILED))
    with Collected(out, keep_all=False) as file:
        assert file.has(task("1+1="), "r1", 0, "a")
        assert file.has(task("1+1="), "r1", 0, "asked in another way")
        for text in ("1+2=", "1+3="):
            assert file.has(task(text), "r1", 0, "a")
            assert not file.has(task(text), "r1", 0, "asked in another way")
        assert not file.has(task("1+4="), "r1", 0, "a")  # a reward that broke can be mended
        assert not file.has(task("1+1="), "r1", 1, "a")
        assert not file.has(task("1+1="), "v3", 0, "a")
        assert not file.has(task("1+5="), "r1", 0, "a")
        assert file.knows("r1")
        assert not file.knows("v3")


def test_a_question_is_told_by_its_words_not_by_its_id_or_system_prompt():
    one = task("1+1=")
    assert fingerprint(one.messages) == fingerprint(one.messages[1:])
    assert fingerprint(one.messages) != fingerprint(task("1+2=").messages)


def test_totals_are_those_of_all_rows(out):
    write(out, row(task("1+1=")), row(task("1+2="), REJECTED))
    file = write(out, row(task("1+3="), cost=None, answer_tokens=None))
    assert dict(file.totals.verdicts) == {ACCEPTED: 2, REJECTED: 1}
    assert (file.totals.prompt_tokens, file.totals.answer_tokens, file.totals.cost) == (30, 10, 0.5)
    assert file.totals.uncounted == 1


def test_each_row_is_in_the_file_when_it_was_added(out):
    with Collected(out, keep_all=False) as file:
        file.add(row(task("1+1=")))
        assert len(lines(out)) == 1


@pytest.mark.parametrize("which", ["traces.jsonl", "traces.rejected.jsonl"])
def test_a_line_that_a_kill_cut_is_left_out_at_every_length(out, which):
    whole = [row(task(text), verdict) for text in ("1+1=", "1+2=") for verdict in (ACCEPTED, REJECTED)]
    write(out, *whole)
    path = out.with_name(which)
    content = path.read_bytes()
    first = content.index(b"\n") + 1
    for length in range(first, len(content)):
        path.write_bytes(content[:length])
        file = write(out)
        assert path.read_bytes() == content[:first], length
        assert bool(file.notes) == (length > first)
    path.write_bytes(content[:-3])
    write(out, whole[2], whole[3])
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", ["no JSON\n", '{"question": "1+1="}\n', "[1]\n", "3\n"])
def test_somebody_elses_file_is_left_alone(out, content):
    out.parent.mkdir()
    out.write_text(content)
    with pytest.raises(ConfigError, match="line 1 was not written by this command"):
        write(out)
    assert out.read_text() == content


def test_two_at_once_are_refused(out):
    with Collected(out, keep_all=False), pytest.raises(ConfigError, match="another process is writing it"):
        write(out)
    write(out, row(task("1+1=")))


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match=r"--out=.*name a file that can be written"):
        write(tmp_path / "taken" / "traces.jsonl")
    with pytest.raises(ConfigError, match=r"name a \.jsonl"):
        Collected(tmp_path / "traces.json", keep_all=False)


def test_text_that_is_no_unicode_is_written_all_the_same(out):
    write(out, row(task("1+1="), trace="\ud800"))
    assert lines(out)[0]["trace"] == "?"
