"""Is the final answer mathematically equal to the task's?

Plain numbers are compared as decimals, on the spot; everything else by math-verify (https://github.com/huggingface/
Math-Verify). What hangs, cannot be read or was not stated is the response's doing and scores the minimum.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Len

from llmft.config import Why
from llmft.reward.failed import Failed
from llmft.reward.verifier import Answer, Question, Verifier
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
            ``A: {answer}``; ``{answer}`` alone: the whole response), or a regular expression whose one group is the
            answer. The last match counts. None leaves finding it to math-verify.
        after: what must stand before the answer, such as ``</think>``: only the text between the first and the second of
            it is judged, and a response without it scores 0. None judges all of the text.
        timeout_s: for one comparison by math-verify; a hang scores 0.
        processes: comparisons at a time; None for as many as there are cores.
        on_unreadable: what a task's answer that is no mathematics does: ``stop`` before the run, or be compared as
            text (``literal``).
    """

    minimum = 0.0
    bounded = True

    def __init__(
        self,
        *,
        form: str | None,
        after: Annotated[str, Len(1), Why("every text holds it; write a mark such as </think>, or null")] | None,
        timeout_s: Annotated[float, Gt(0)],
        processes: Annotated[int, Ge(1)] | None,
        on_unreadable: Literal["stop", "literal"],
    ) -> None:
        self.form, self.after = form, after
        self.on_unreadable = on_unreadable
        self.pattern = None if form is None else form_pattern(form)
        self.verifier = Verifier(timeout_s, processes)

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float | Exception]:
        pairs = [(rollout.task.answer, self.stated(rollout.text)) for rollout in rollouts]
        values = {pair: self._at_once(*pair) for pair in dict.fromkeys(pairs)}  # a group often agrees
        asked = [pair for pair, value in values.items() if value is None]
        questions = [Question(answer or "", said or "", whole=self.form is None) for answer, said in asked]
        for pair, verdict in zip(asked, self.verifier.compare(questions), strict=True):
            values[pair] = self._value(*pair, verdict)
        return [value for pair in pairs if (value := values[pair]) is not None]

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
        try:
            unread = self._unreadable(list(reversed(odd)))
        except Failed as error:
            return [*faults, f"{error}; is math-verify installed?"]
        if unread:
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
        verdicts = self.verifier.compare([Question(answer, answer) for answer in closely])
        if broken := next((one for one in verdicts if isinstance(one, Failed)), None):
            raise broken
        return prose + [answer for answer, verdict in zip(closely, verdicts, strict=True) if verdict != "equal"]

    def _at_once(self, answer: str | None, said: str | None) -> float | Exception | None:
        """The value of a pair that needs no math-verify; None for one that does."""
        if answer is None:
            return Failed("a task without an answer")
        if said is None:
            return self.minimum
        expected, number = plain_number(answer), plain_number(said)
        if expected and number:
            if expected == number:
                return 1.0
            if expected[1] == number[1]:  # 50 % may still be 0.5
                return self.minimum
        return self._value(answer, said, "unreadable") if is_prose(answer) else None

    def _value(self, answer: str | None, said: str | None, verdict: Answer | Failed) -> float | Exception:
        if isinstance(verdict, Failed):
            return verdict
        if verdict != "unreadable":
            return float(verdict == "equal")
        if self.on_unreadable == "stop":
            return Failed("a task whose answer cannot be read as mathematics")
        return float((said or "").split() == (answer or "").split())

    def close(self) -> None:
        self.verifier.close()


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
    if not before and not after:
        return re.compile(r"(?s)\A\s*(.+?)\s*\Z")
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
