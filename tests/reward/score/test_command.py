"""``python -m llmft.reward.score``: what is printed, what is written, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from llmft.config import ROOT, build, compose
from llmft.reward.score import command

LAB = ["dataset.train=20", "dataset.heldout=2", "dataset.test=2"]


@pytest.fixture
def score(monkeypatch, capsys):
    """``score(*arguments)``: the exit code and what was said."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["score", *map(str, arguments)])
        code = command.main()
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def written(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def scores(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def tasks():
    return build(compose(LAB).dataset).load().train


def samples(tasks, *, wrong, reward=lambda good: float(good)):
    """As a run writes them: each task's trace, of which the first ``wrong`` have another answer."""
    for place, task in enumerate(tasks):
        good = place >= wrong
        text = task.traces[0].text if good else task.traces[0].text.partition("#")[0] + "#1"
        yield {
            "task": task.id, "messages": list(task.messages), "answer": task.answer, "response": text, "finish": "end",
            "reward": reward(good), "parts": {"correct": float(good), "form": 1.0}, "correct": good, "failure": None,
        }  # fmt: skip


def test_the_samples_of_a_run(score, tasks, tmp_path):
    file = written(tmp_path / "samples.jsonl", *samples(tasks, wrong=5))
    code, said = score(file, *LAB)
    assert code == 0
    assert "right: 15 of 20 that were judged (75.0%)" in said
    assert "failed: 0 of 20" in said
    assert "latency of 10 that were scored one by one, in ms: 50 % " in said
    assert "responses per second, of 9 in batches" in said
    assert "the file's own rewards: all 20 are the same" in said
    assert f"written: {tmp_path / 'samples.scores.jsonl'} and {tmp_path / 'samples.scores.png'}" in said
    rows = scores(tmp_path / "samples.scores.jsonl")
    assert [row["where"] for row in rows] == [f"samples.jsonl:{line}" for line in range(1, 21)]
    assert [row["reward"] for row in rows] == [0.0] * 5 + [1.0] * 15
    assert rows[0]["recorded"] == {"reward": 0.0, "parts": {"correct": 0.0, "form": 1.0}, "correct": False}
    assert [rows[7][name] for name in ("task", "parts", "correct", "failure")] == [
        tasks[7].id, {"correct": 1.0, "form": 1.0}, True, None
    ]  # fmt: skip
    assert sum("seconds" in row for row in rows) == 10
    assert (tmp_path / "samples.scores.png").stat().st_size > 10_000
    best, worst = said.split("the worst 10 ")
    assert best.index("the best 10 ") < best.index("samples.jsonl:6 ") < best.index("samples.jsonl:7 ")
    assert worst.index("samples.jsonl:5 ") < worst.index("samples.jsonl:1 ") < worst.index("samples.jsonl:20 ")


def test_a_score_that_is_not_the_recorded_one_is_told(score, tasks, tmp_path):
    file = written(tmp_path / "samples.jsonl", *samples(tasks, wrong=1, reward=lambda good: 1.0))
    code, said = score(file, *LAB, "--out", tmp_path / "again.jsonl", "--show", 0)
    assert code == 0
    assert "the file's own rewards: 1 of 20 differ, by 0.05 on average over all and at most 1" in said
    assert "samples.jsonl:1: 1 (correct 0, form 1) -> 0 (correct 0, form 1)" in said
    assert "the best" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.jsonl", "again.png", "samples.jsonl"]


def test_the_dataset_has_the_answer_that_a_line_lacks(score, tasks, tmp_path):
    lines = [{"id": tasks[3].id, "responses": [tasks[3].traces[0].text, "#1"]}]
    lines.append({"prompt": tasks[4].messages[-1]["content"], "response": tasks[4].traces[0].text})
    code, _ = score(written(tmp_path / "rows.jsonl", *lines), *LAB)
    rows = scores(tmp_path / "rows.scores.jsonl")
    assert code == 0
    assert [(row["where"], row["reward"]) for row in rows] == [
        ("rows.jsonl:1[0]", 1.0), ("rows.jsonl:1[1]", 0.0), ("rows.jsonl:2", 1.0)
    ]  # fmt: skip


def test_lines_that_stand_by_themselves_need_neither_dataset_nor_model(score, tmp_path):
    lines = [{"prompt": "1/2?", "answer": "0.5", "response": f"#### {said}"} for said in ("1/2", "\\frac{2}{4}", "2")]
    code, said = score("reward=math", written(tmp_path / "rows.jsonl", *lines), "dataset.path=/nowhere")
    assert code == 0
    assert [row["reward"] for row in scores(tmp_path / "rows.scores.jsonl")] == [1.0, 1.0, 0.0]
    assert "right: 2 of 3" in said


def test_a_limit_and_half_a_character(score, tmp_path):
    lines = [{"prompt": "1+1=", "answer": "2", "responses": ["\ud83d#2", "#2", "#2"]}] * 3
    code, said = score(written(tmp_path / "rows.jsonl", *lines), "--limit", 4)
    assert code == 0
    assert "failed: 0 of 4" in said
    assert scores(tmp_path / "rows.scores.jsonl")[0]["response"] == "?#2"


def test_a_run_is_scored_with_its_own_config(score, tasks, tmp_path):
    from omegaconf import OmegaConf

    from llmft.config import settings

    cfg = settings(compose([*LAB, "reward.weights.form=0.25"]))
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(cfg)))
    written(tmp_path / "samples.jsonl", *samples(tasks, wrong=0))
    assert score(tmp_path)[0] == 0
    assert {row["reward"] for row in scores(tmp_path / "samples.scores.jsonl")} == {1.25}
    code, said = score(tmp_path, "reward=math")
    assert code == 0
    assert {row["reward"] for row in scores(tmp_path / "samples.scores.jsonl")} == {1.0}
    assert "all 20 are the same" in said


ADD = "```python\ndef add(a, b):\n    return {}\n```"


def test_programs_are_run_and_their_ends_counted(score, tmp_path):
    cfg = compose(["reward=coding"])
    if faults := build(cfg.reward.sandbox).faults():
        pytest.skip(faults[0])
    texts = [ADD.format(body) for body in ("a + b", "b + a", "a - b", "a + c", "1 / 0", "add(a, b + 1")] + ["none"]
    tests = ["assert add(1, 2) == 3", {"call": "add(2, 2)", "expected": 4}, {"call": "add(1, 0)", "expected": 1}]
    file = written(tmp_path / "rows.jsonl", {"prompt": "Add.", "responses": texts, "tests": tests})
    code, said = score("reward=coding", file)
    assert code == 0
    assert [row["reward"] for row in scores(tmp_path / "rows.scores.jsonl")] == [1, 1, pytest.approx(1 / 3), 0, 0, 0, 0]
    assert "right: 2 of 7 that were judged" in said
    assert "programs that ran in the sandbox, equal ones of a batch once: 6 (5 ok, 1 error)" in said
    assert "sandbox: level L" in said


@pytest.mark.parametrize(
    ("line", "more", "fault"),
    [
        ({"id": "x", "response": "#2"}, [], "rows.jsonl:1 task=x: none of the dataset's 24 tasks has this id"),
        ({"prompt": "p", "kind": "math", "response": "#2"}, [], "reward.parts.correct: 1 tasks have no answer, first "
         "'rows.jsonl:1'"),
        ({"prompt": "p", "kind": "coding", "response": "#2"}, ["reward=coding"], "reward.parts.tests: 1 tasks have no "
         "tests, first 'rows.jsonl:1'"),
        ({"prompt": "p", "tests": "assert f(", "response": "#2"}, ["reward=coding"], "reward.parts.tests: task "
         "'rows.jsonl:1': tests[0]: it does not compile"),
        ({"id": "x", "response": "#2"}, ["dataset=rows", "dataset.path=/nowhere.jsonl"], "dataset.path=/nowhere.jsonl: "
         "there is no such file"),
        ({"prompt": "p", "response": 2}, [], "rows.jsonl:1 response=2: no text"),
        ({"prompt": "p", "answer": "2", "response": "#2"}, ["+reward.weights.forms=1"], "reward.weights.forms=1.0: no "
         "such part; did you mean 'form'?"),
        ({"prompt": "p", "answer": "2", "response": "#2"}, ["reward=maths"], "reward=maths: "),
        ({"prompt": "p", "answer": "2", "response": "#2"}, ["+reward.parts.correct.odd=1"], "takes no 'odd'"),
        ({"prompt": "p", "answer": "2", "response": "#2"}, ["model=hf", "model.path=/nowhere"], "model.path=/nowhere: no "
         "such folder"),
        ({"prompt": "p", "answer": "2", "response": "#2"}, ["--out", "/proc/scores.jsonl"], "--out=/proc/scores.jsonl: "
         "/proc: cannot be written"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_refused(score, tmp_path, line, more, fault):
    code, said = score(
        written(tmp_path / "rows.jsonl", line),
        *(LAB if "dataset" not in str(more) and "coding" not in str(more) else []),
        *more,
    )
    assert code == 2
    assert fault in " ".join(said.split())
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_other_groups_are_not_looked_at(score, tmp_path):
    line = {"prompt": "1+1=", "answer": "2", "response": "#2"}
    assert score(written(tmp_path / "rows.jsonl", line), "algorithm.group_size=1", "trainer.max_steps=-3")[0] == 0


def test_a_reward_that_breaks_ends_with_1_when_everything_is_written(score, tmp_path, monkeypatch):
    from llmft.reward.exact import Exact

    monkeypatch.setattr(Exact, "__call__", lambda self, rollouts: 1 / 0)
    line = {"prompt": "1+1=", "answer": "2", "response": "#2"}
    code, said = score(written(tmp_path / "rows.jsonl", *[line] * 3))
    assert code == 1
    assert "3 x correct: ZeroDivisionError" in said
    assert "reward.max_failure_rate=0.02: the reward itself failed on 3 of 3 rollouts" in said
    rows = scores(tmp_path / "rows.scores.jsonl")
    assert [row["reward"] for row in rows] == [None] * 3
    assert rows[0]["failure"].startswith("correct: ZeroDivisionError")
    assert rows[0]["parts"].keys() == {"form"}


@pytest.mark.slow
def test_the_module_runs(tmp_path):
    file = written(tmp_path / "rows.jsonl", {"prompt": "1+1=", "answer": "2", "response": "#2"})
    run = [sys.executable, "-m", "llmft.reward.score", str(file)]
    done = subprocess.run(run, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "right: 1 of 1 that were judged (100.0%)" in done.stdout
