"""Is the final answer mathematically equal to the task's?

Plain numbers are compared as decimals, on the spot; everything else by math-verify (https://github.com/huggingface/
Math-Verify). What hangs, cannot be read or was not stated is the response's doing and scores the minimum.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Literal

from annotated_types import Gt, Len

from llmft.config import Why
from llmft.reward.verifier import Verifier
from llmft.types import Rollout, Task

CHECKED = 500  # distinct answers that are not plain numbers, tried before a run: some milliseconds each

NUMBER = re.compile(
    r"[\s*]*(?P<sign>[-+−]?)\s*\\?[$€£]?\s*(?P<whole>\d{1,3}(?:,\d{3})+|\d+|(?=\.\d))(?P<decimals>\.\d+)?"
    r"\s*(?P<percent>\\?%)?\$?\.*[\s*]*"
)
PROSE = re.compile(r"[A-Za-z]{3,}\s+(?:[A-Za-z]{1,2}\s+)?[A-Za-z]{3,}")  # which would be read as a product of letters
LATEX = re.compile(r"\\(?:text|mathrm|begin|end)\s*\{[^}]*\}|\\[A-Za-z]+")


class Math:
    """1 where the last final answer in a response equals the task's, else 0.

    Args:
        form: how a final answer is written, with ``{answer}`` in its place (``#### {answer}``, ``\\boxed{{answer}}``,
            ``A: {answer}``), or a regular expression whose one group is the answer. The last match counts. None leaves
            finding it to math-verify.
        after: what must stand before the answer, such as ``</think>``: only the text between the first and the second of
            it is judged, and a response without it scores 0. None judges all of the text.
        timeout_s: for one comparison by math-verify; a hang scores 0.
        on_unreadable: what a task's answer that is no mathematics does: ``stop`` before the run, or be compared as
            text (``literal``).
    """

    minimum = 0.0

    def __init__(
        self,
        *,
        form: str | None,
        after: Annotated[str, Len(1), Why("every text holds it; write a mark such as </think>, or null")] | None,
        timeout_s: Annotated[float, Gt(0)],
        on_unreadable: Literal["stop", "literal"],
    ) -> None:
        self.form, self.after = form, after
        self.on_unreadable = on_unreadable
        self.pattern = None if form is None else form_pattern(form)
        self.verifier = Verifier(timeout_s)

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        pairs = [(rollout.task.answer, self.stated(rollout.text)) for rollout in rollouts]
        verdicts = {pair: self._equal(*pair) for pair in dict.fromkeys(pairs)}  # a group often agrees
        return [float(verdicts[pair]) for pair in pairs]

    def stated(self, text: str) -> str | None:
        """The last final answer in the text, or None; where math-verify is to find it, the text that is judged."""
        if self.after is not None:
            _, *behind = text.split(self.after)
            if not behind:
                return None
            text = behind[0]
        if self.form is None or self.pattern is None:
            return text
        before, _, after = self.form.partition("{answer}")
        if before.endswith("{") and after.startswith("}"):
            return last_braced(text, before)
        found = [match.group(1).strip() for match in self.pattern.finditer(text)]
        return next((said for said in reversed(found) if said), None)

    def faults(self, tasks: Sequence[Task]) -> list[str]:
        """Tasks without an answer, and answers that cannot be read (all are looked at, `CHECKED` of them closely)."""
        faults = []
        if missing := [task.id for task in tasks if not (task.answer or "").strip()]:
            faults.append(f"{len(missing)} tasks have no answer, first {missing[0]!r}; name dataset.answer_column")
        odd = {answer: task.id for task in reversed(tasks) if (answer := task.answer) and not plain_number(answer)}
        if unread := self._unreadable(list(reversed(odd))):
            faults.append(
                f"{len(unread)} answers cannot be read as mathematics, first task {odd[unread[0]]!r}: "
                f"{unread[0][:80]!r}; take the final answer out with dataset.answer_pattern, or compare such answers "
                "as text with on_unreadable=literal"
            )
        return faults

    def _unreadable(self, answers: Sequence[str]) -> list[str]:
        if self.on_unreadable == "literal":
            return []
        prose = [answer for answer in answers if is_prose(answer)]
        closely = [answer for answer in answers if not is_prose(answer) and answer.strip()][:CHECKED]
        return prose + [answer for answer in closely if self.verifier.compare(answer, answer) != "equal"]

    def _equal(self, answer: str | None, said: str | None) -> bool:
        if answer is None:
            raise ValueError("a task without an answer")
        if said is None:
            return False
        expected, number = plain_number(answer), plain_number(said)
        if expected and number:
            if expected == number:
                return True
            if expected[1] == number[1]:  # 50 % may still be 0.5
                return False
        whole = self.form is None
        verdict = "unreadable" if is_prose(answer) else self.verifier.compare(answer, said, whole=whole)
        if verdict == "unreadable" and self.on_unreadable == "stop":
            raise ValueError("a task whose answer cannot be read as mathematics")
        return verdict == "equal" or (verdict == "unreadable" and said.split() == answer.split())


def form_pattern(form: str) -> re.Pattern[str]:
    """What finds an answer in ``form``. Raises ValueError where the form does not say where it stands."""
    if "{answer}" not in form:
        try:
            pattern = re.compile(form)
        except re.error as error:
            raise ValueError(f"form={form}: no {{answer}} in it, and not a regular expression ({error})") from None
        if pattern.groups != 1:
            raise ValueError(f"form={form}: it needs {{answer}}, or one group which is the answer, e.g. '#### (.+)'")
        return pattern
    before, _, after = (re.escape(part.strip()) for part in form.partition("{answer}"))
    if not before:
        raise ValueError(f"form={form}: nothing stands before {{answer}}; write e.g. '#### {{answer}}'")
    word = r"\b" if re.match(r"\w", form.strip()) else ""
    return re.compile(rf"{word}{before}[ \t]*(.+?){after}" if after else rf"{word}{before}[ \t]*(.*)")


def last_braced(text: str, opening: str) -> str | None:
    """What stands between the last ``opening`` (which ends in a brace) that is closed again, and its brace."""
    start = len(text)
    while (start := text.rfind(opening, 0, start)) >= 0:
        inside, depth = start + len(opening), 1
        for index in range(inside, len(text)):
            depth += {"{": 1, "}": -1}.get(text[index], 0)
            if depth == 0:
                return text[inside:index].strip() or None
    return None


def plain_number(text: str) -> tuple[Decimal, bool] | None:
    """The value of a plain number, ``$1,234.50`` or ``18.`` or ``50%``, and whether it is in percent; None if it is
    anything else."""
    found = NUMBER.fullmatch(text)
    if not found:
        return None
    digits = found["whole"].replace(",", "") + (found["decimals"] or "")
    return Decimal(digits) * (-1 if found["sign"] in ("-", "−") else 1), found["percent"] is not None


def is_prose(text: str) -> bool:
    """Two words side by side, outside of LaTeX: a sentence, not a formula."""
    return PROSE.search(LATEX.sub("", text)) is not None
