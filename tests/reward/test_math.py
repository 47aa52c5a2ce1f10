"""Mathematical equality, in any thread or process, whatever the text does."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import threading
import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from summed import summed

from llmft.reward.failed import Failed
from llmft.reward.math import Math, form_pattern, is_prose, last_braced, plain_number
from llmft.types import Rollout, Task

HASHES, BOXED, A = "#### {answer}", r"\boxed{{answer}}", "A: {answer}"


def rollout(text: str, answer: str | None) -> Rollout:
    return Rollout(Task("t", (), "math", answer=answer), (), (), (), (), "policy", text, "end")


def math(form: str | None = HASHES, timeout_s: float = 20.0, on_unreadable="stop", after: str | None = None) -> Math:
    return Math(form=form, after=after, timeout_s=timeout_s, processes=2, on_unreadable=on_unreadable)


@pytest.fixture(scope="module")
def hashes():
    return math()


@pytest.mark.parametrize(
    ("form", "text", "stated"),
    [
        (HASHES, "So.\n#### 18", "18"),
        (HASHES, "#### 17\nNo.\n#### 18\n", "18"),  # the last one wins
        (HASHES, "####18 ", "18"),
        (HASHES, "#### 18\n#### ", "18"),  # an empty one states nothing
        (HASHES, "So 18.", None),
        (A, "So.\nA: 18", "18"),
        (A, "PIZZA: 17\nA: 18\nPIZZA: 19", "18"),  # A is a word of its own
        (BOXED, r"So \boxed{18}.", "18"),
        (BOXED, r"\boxed{17}, no: \boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}"),
        (BOXED, r"\boxed{18} and \boxed{19", "18"),  # what was never closed is none
        (BOXED, r"\boxed{ }", None),
        (BOXED, "boxed 18", None),
        ("<answer>{answer}</answer>", "<answer> 17\n</answer> <answer>18</answer>", "18"),
        (r"(?i)the answer is\s+(\S+?)\.?$", "The answer is 18.", "18"),
        (r"\\boxed\{(\d+)\}", r"so \boxed{18}", "18"),  # a regular expression of the user's own
    ],
)
def test_where_an_answer_is_found(form, text, stated):
    assert math(form).stated(text) == stated


@pytest.mark.parametrize(
    ("said", "answer", "value"),
    [
        ("18", "18", 1),
        ("18.0", "18", 1),
        ("18.", "18", 1),
        ("$18", "18", 1),
        (r"\$18", "18", 1),
        ("18%", "18", 1),
        ("$1,800.50.", "1800.5", 1),
        ("-3", "-3", 1),
        ("−3", "-3", 1),
        ("**18**", "18", 1),
        ("$18$", "18", 1),
        ("0.18", ".18", 1),
        ("18", "19", 0),
        ("-18", "18", 0),
        ("1,80", "180", 0),  # no thousands
        ("1/2", "0.5", 1),
        ("50%", "0.5", 1),
        (r"\frac{1}{2}", "0.5", 1),
        (r"\frac{2}{4}", r"\frac{1}{2}", 1),
        (r"$\frac{\pi}{2}$", r"\pi/2", 1),
        (r"2\sqrt{2}", r"\sqrt{8}", 1),
        ("x + 1", "1 + x", 1),
        ("x = 5", "5", 1),
        ("(1, 2)", "(1,2)", 1),
        ("(2, 1)", "(1,2)", 0),
        (r"\frac{1}{3}", "0.5", 0),
        ("7/14", "14", 0),
        ("-1.8 billion", "18", 0),
        ("10+John's age", "10", 0),
        ("eighteen", "18", 0),
        (r"\frac{1}{", "18", 0),
        ("(" * 50, "18", 0),
        ("\\", "18", 0),
        ("\x00 \ud83d", "18", 0),  # a lone surrogate must travel too
    ],
)
def test_the_table_of_values(hashes, said, answer, value):
    assert hashes([rollout(f"So.\n#### {said}", answer)]) == [value]


def test_no_answer_is_bad_not_failed(hashes):
    assert hashes([rollout("I do not know.", "18")]) == [hashes.minimum]


SOLUTIONS = [  # of a task whose answer is 18; and whether they are right
    (r"9 and 9.</think>\nTogether \boxed{18}.", True),
    (r"9 and 9.</think>\nTogether \boxed{18}.<|im_end|>", True),
    (r"</think>\boxed{18}", True),
    ("So.</think>\nThe answer is 18.", True),  # math-verify looks for it
    ("So.</think>\nHence $x = 18$, which we wanted.", True),
    ("So.</think>\n18", True),
    ("So.</think>**18 trees**", True),  # a text, no formula
    (r"So \boxed{17}.</think>\nHence \boxed{\frac{36}{2}}.", True),
    (r"So.</think>\nNot \boxed{17} but \boxed{18}.", False),  # math-verify reads two beside each other as a set
    (r"So \boxed{18}.", False),  # never stopped thinking
    (r"So \boxed{18}.</think>", False),
    (r"So \boxed{18}.</think>\nI do not know.", False),
    (r"So.</think>\n\boxed{18}</think>\n\boxed{17}", True),  # up to the second
    (r"So.</think>\n\boxed{17}</think>\n\boxed{18}", False),
    ("", False),
]


def published(text: str) -> bool:
    """data.reward_impl_version=3 of LUFFY's code, as it describes itself: the answer is 18."""
    from math_verify import parse, verify

    head, mark, tail = f"<think>\n{text}".partition("</think>")
    gold, judged = parse("$18$"), parse(tail.partition("</think>")[0])
    return head.count("<think>") > 0 and mark != "" and verify(gold, judged)


@pytest.mark.parametrize(("text", "right"), SOLUTIONS)
def test_what_follows_the_thinking_is_judged(text, right):
    assert published(text) == right
    assert math(None, after="</think>", on_unreadable="literal")([rollout(text, "18")]) == [right]


def test_all_of_a_text_is_judged():
    """data.reward_impl_version=4, without the thinking."""
    texts = [r"So \boxed{18}.", "It is 17.</think>It is 18.", "It is 18.", "It is 18.</think>It is 17."]
    assert math(None)([rollout(text, "18") for text in texts]) == [1.0, 1.0, 1.0, 0.0]


def test_a_form_is_looked_for_behind_the_mark():
    reward = math(BOXED, after="</think>")
    assert reward.stated(r"\boxed{17}</think> \boxed{18}") == "18"
    assert reward.stated(r"\boxed{17}</think> 18") is None
    assert reward.stated(r"\boxed{18}") is None


def test_no_response_to_an_unreadable_answer_is_right():
    reward = math(None, after="</think>", on_unreadable="literal")
    assert reward([rollout("So.</think>The answer is the red house.", "the red house on the hill")]) == [0.0]


@given(st.integers(-(10**15), 10**15), st.integers(0, 10**4))
def test_numbers_are_read_however_they_are_written(whole, fraction):
    value = Decimal(f"{whole}.{fraction:05}")
    for text in (f"{whole}.{fraction:05}", f"{whole:,}.{fraction:05}", f"{whole}.{fraction:05}00 ."):
        assert plain_number(text) == (value, False)


@pytest.mark.parametrize("text", ["", "x", "1/2", "1e5", "1,2,3", "12,34", "--1", "1 2", "."])
def test_what_is_no_plain_number(text):
    assert plain_number(text) is None


def test_agreement_with_the_labelled_solutions(shared):
    path = shared("data/gsm8k/example_model_solutions.jsonl")
    reward = math(A)
    rollouts, labels = [], []
    for line in path.read_text().splitlines():
        row = json.loads(line)
        answer = reward.stated(row["ground_truth"])
        for solution in (value for value in row.values() if isinstance(value, dict)):
            rollouts.append(rollout(solution["solution"], answer))
            labels.append(float(solution["is_correct"]))
    assert len(labels) == 5276
    assert reward(rollouts) == labels


PATHOLOGICAL = {
    "9^{9^{9^{9^9}}}": 0.0,
    "2^{10^{12}}": 0.0,
    "100000000!": 0.0,
    "(10^{8})!": 0.0,
    "\\sum_{k=1}^{10^{9}} k^{k}": 0.0,
    "\\int_0^{10} x^{x^{x^x}} dx": 0.0,
    "\\binom{10^{9}}{10^{8}}": 0.0,
    "(" * 100_000: 0.0,
    "{" * 100_000 + "1": 0.0,
    "\\sqrt{" * 20_000 + "2" + "}" * 20_000: 0.0,
    "\\frac{1}{" * 20_000: 0.0,
    "-" * 100_000 + "1": 0.0,
    "1" * 200_000: 0.0,
    "+".join(["x"] * 20_000): 0.0,
    "\\frac{2}{4}": 1.0,
    "0.5": 1.0,
}


@pytest.mark.slow
def test_expressions_that_no_computer_algebra_survives():
    """Each scores the minimum, none fails and none harms the others; some hang and some overflow the stack."""
    reward = math(timeout_s=2.0)
    began = time.monotonic()
    assert reward([rollout(f"#### {said}", "1/2") for said in PATHOLOGICAL]) == list(PATHOLOGICAL.values())
    assert time.monotonic() - began < 90
    assert reward([rollout("#### 2/4", "1/2")]) == [1.0]
    reward.close()


def test_a_hang_does_not_harm_its_batch():
    texts = ["#### 1/2", "#### 9^{9^{9^{9^9}}}", "#### 2/4", "#### 1/3"]
    assert math(timeout_s=3.0)([rollout(text, "0.5") for text in texts]) == [1.0, 0.0, 1.0, 0.0]


def test_any_thread(hashes):
    found: dict[int, list[float]] = {}

    def work(index: int) -> None:
        found[index] = hashes([rollout(f"#### {index}/{2 * index}", "0.5"), rollout("#### 1/3", "0.5")])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {index: [1.0, 0.0] for index in range(1, 9)}


def _score_in_child(reward: Math, pipe) -> None:
    values = reward([rollout("#### 1/2", "0.5")])
    pipe.send((reward.verifier.workers.pids(), values))


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_any_process(hashes, method):
    hashes([rollout("#### 1/2", "0.5")])  # the parent's own process is up
    mine, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context(method).Process(target=_score_in_child, args=(hashes, theirs))
    child.start()
    assert mine.poll(60)
    pids, values = mine.recv()
    child.join()
    assert values == [1.0]
    assert not set(pids) & set(hashes.verifier.workers.pids())  # two on one pipe would read each other's replies
    assert hashes([rollout("#### 2/4", "0.5")]) == [1.0]


def test_it_travels_by_pickle(hashes):
    assert pickle.loads(pickle.dumps(hashes))([rollout("#### 1/2", "0.5")]) == [1.0]


def test_a_process_that_was_killed_is_started_again():
    reward = math()
    assert reward([rollout("#### 1/2", "0.5")]) == [1.0]
    for pid in reward.verifier.workers.pids():
        os.kill(pid, signal.SIGKILL)
    assert reward([rollout("#### 2/4", "0.5")]) == [1.0]
    reward.close()


def test_a_process_that_never_starts_is_failed_machinery(monkeypatch):
    reward = math()
    monkeypatch.setattr("llmft.reward.workers.sys.executable", "/bin/false")
    right, dead = summed({"correct": reward}).score([rollout("#### 18", "18"), rollout("#### 1/2", "0.5")])
    assert right.value == 1.0
    assert dead.value is None
    assert dead.failure == "correct: math-verify: worker died while it started (exit code 1)"
    tasks = [Task("t", (), "math", answer=r"\frac{1}{2}")]
    assert reward.faults(tasks) == [
        "math-verify: worker died while it started (exit code 1); is math-verify installed?"
    ]


def test_numbers_alone_start_no_process():
    reward = math()
    assert reward([rollout("#### 18", "18"), rollout("#### 17", "18"), rollout("none", "18")]) == [1.0, 0.0, 0.0]
    assert reward.faults([Task("t", (), "math", answer="18")]) == []
    assert reward.verifier.workers.pids() == []


def test_answers_that_cannot_be_read_are_faults(hashes):
    answers = ["18", "1,200", r"\frac{1}{2}", r"\text{Evelyn}", "x^2", "(0, 1]", "(1, 2)"]
    fine = [Task(f"fine-{answer}", (), "math", answer=answer) for answer in answers]
    assert hashes.faults(fine) == []
    odd = ["Natalia sold 48/2 = 24 clips in May.\n#### 24", "see above", "???", ""]
    tasks = [*fine, *(Task(f"odd-{index}", (), "math", answer=answer) for index, answer in enumerate(odd))]
    missing, unread = hashes.faults([*tasks, Task("none", (), "math")])
    assert missing.startswith("2 tasks have no answer, first 'odd-3'")
    assert unread.startswith("3 answers cannot be read as mathematics, first task 'odd-0': 'Natalia sold")


def test_an_unreadable_answer_fails_or_is_compared_as_text(hashes):
    (failed,) = hashes([rollout("#### see above", "see above")])
    assert isinstance(failed, Failed)
    assert str(failed) == "a task whose answer cannot be read as mathematics"
    literal = math(on_unreadable="literal")
    assert literal.faults([Task("t", (), "math", answer="see above")]) == []
    assert literal([rollout("#### see  above", "see above"), rollout("#### see below", "see above")]) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("text", "prose"),
    [
        ("see above", True),
        ("not a number", True),
        (r"\text{see above}", False),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", False),
        (r"2 \sin x \cos y", False),
        ("Evelyn", False),
        ("SRAC=LRAC", False),
    ],
)
def test_what_is_prose(text, prose):
    assert is_prose(text) is prose


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ("####", "one group which is the answer"),
        ("([", "not a regular expression"),
        ("{answer} is it", "nothing stands before"),
    ],
)
def test_forms_that_cannot_be(form, why):
    with pytest.raises(ValueError, match=why):
        form_pattern(form)


def test_the_form_may_be_the_answer_alone():
    assert form_pattern("{answer}").findall(" 12\n ") == ["12"]


@given(st.text(alphabet="{}ab\\", max_size=30))
def test_last_braced_is_balanced(text):
    inside = last_braced(text, "a{")
    assert inside is None or (inside.count("{") == inside.count("}") and inside in text)
