"""What is printed of scores."""

from __future__ import annotations

from rich.console import Console

from llmft.reward.score.records import Record, Recorded
from llmft.reward.score.report import agreeing, parts_table, ranked, response, shortened, speed, verdicts
from llmft.reward.score.scoring import Timed, rollout
from llmft.reward.score.summary import agreement
from llmft.types import Score, Task


def printed(*shown, width=80) -> list[str]:
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        for one in shown:
            console.print(one)
    return [line.rstrip() for line in captured.get().splitlines() if line.strip()]


def test_a_line_for_the_reward_and_for_each_part():
    scores = [Score(value, {"correct": value, "form": 1.0}, value > 0) for value in (0.0, 0.0, 1.0, 1.0)]
    scores.append(Score(None, {"form": 0.0}, failure="correct: Failed: x"))
    head, _, reward, correct, form = printed(parts_table(scores, {"correct": 1.0, "form": 0.0}))
    assert " ".join(head.split()) == "part weight scored mean sd min 25 % median 75 % max"
    assert " ".join(reward.split()) == "reward 4 0.5 0.577 0 0 0.5 1 1"
    assert " ".join(correct.split()) == "correct 1 4 0.5 0.577 0 0 0.5 1 1"
    assert " ".join(form.split()) == "form 0 5 0.8 0.447 0 1 1 1 1"


def test_a_reward_that_failed_everywhere_has_a_line_too():
    *_, reward = printed(parts_table([Score(None, failure="a: b")], {}))
    assert reward.split() == ["reward", "0", *["-"] * 7]


def test_verdicts_and_failures_by_reason():
    scores = [Score(1.0, correct=True), Score(0.0, correct=False), Score(0.0, correct=False), Score(0.5)]
    scores += [Score(None, failure=f"correct: KeyError: {name}") for name in "ab"] + [Score(None, failure="form: hung")]
    assert list(verdicts(scores)) == [
        "right: 1 of 3 that were judged (33.3%)",
        "no verdict: 1, the reward does not say what is right",
        "failed: 3 of 7",
        "  2 x correct: KeyError",
        "  1 x form: hung",
    ]


def test_latency_and_speed():
    told = list(speed(Timed([], 1.5, [0.001, 0.002, 0.003], [1, 2, 3], 600, 2.0)))
    assert told == [
        "the first response: 1.50 s, with what had to be started",
        "latency of 3 that were scored one by one, in ms: 50 % 2, 90 % 2.8, 99 % 2.98, max 3",
        "speed: 300 responses per second, of 600 in batches",
    ]
    assert list(speed(Timed([], 0.1, [0.5], [1], 0, 0.0)))[-1] == "speed: 2 responses per second, one by one"
    assert len(list(speed(Timed([], 0.1, [], [], 0, 0.0)))) == 1


def test_a_score_that_differs_is_told_with_its_parts():
    scores = [Score(1.0, {"a": 1.0}, True), Score(0.25, {"a": 0.25}, False)]
    rows = [{"where": f"f:{n}", "recorded": {"reward": was, "parts": {"a": was}}} for n, was in ((1, 1.0), (2, 0.75))]
    recorded = [Recorded(1.0, {"a": 1.0}, True), Recorded(0.75, {"a": 0.75}, True)]
    found = agreement(scores, recorded)
    assert found is not None
    assert list(agreeing(found, scores, rows)) == [
        "the file's own rewards: 1 of 2 differ, by 0.25 on average over all and at most 0.5, 1 right -> wrong",
        "  f:2: 0.75 (a 0.75) -> 0.25 (a 0.25)",
    ]
    same = agreement(scores[:1], recorded[:1])
    assert same is not None
    assert list(agreeing(same, scores, rows)) == ["the file's own rewards: all 1 are the same"]


def test_the_best_and_the_worst_have_nothing_in_common():
    scores = [Score(float(value)) for value in (3, 1, 4, 1, 5)] + [Score(None, failure="x")]
    assert ranked(scores, 2) == ([4, 2], [3, 1])
    assert ranked(scores, 3) == ([4, 2, 0], [3, 1])
    assert ranked(scores, 9) == ([4, 2, 0, 1, 3], [])
    assert ranked(scores, 0) == ([], [])


def test_a_response_is_shortened_in_its_middle():
    assert shortened("a\nb") == "    a\n    b"
    assert shortened(" \n") == "    (nothing)"
    assert shortened("x" * 310) == "    " + "x" * 150 + " … 10 more characters … " + "x" * 150


def test_a_response_with_marks_of_rich_in_it():
    task = Task("t[red]", ({"role": "user", "content": "q"},), "math", answer="2")
    record = Record("f:1", "t", task.messages, ("[bold]x[/]",), "end", None, {}, (), None)
    lines = printed(response(rollout(record, 0, task, None), Score(1.0, {"a": 1.0}), "f:1"))
    assert lines == ["f:1  t[red]  1 (a 1)  answer='2'", "    [bold]x[/]"]
