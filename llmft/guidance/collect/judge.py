"""What becomes of an answer: the config's reward says, as it would of a response in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmft.chat import as_response
from llmft.endpoint.reply import Usage
from llmft.guidance.collect.collected import ACCEPTED, CUT, FAILED, REJECTED, fingerprint, question_columns
from llmft.protocols import Reward, Tokens
from llmft.types import Rollout, Score, Task, Trace

UNBOUNDED = 2**31  # an answer is judged whole; what a run has room for is the run's affair


class Judge:
    """Accepts what is correct or, with ``min_reward``, what earns at least that; never what was cut off."""

    def __init__(
        self, *, tokens: Tokens, reward: Reward, min_reward: float | None, prices: tuple[float, float] | None
    ) -> None:
        self.tokens, self.reward, self.min_reward = tokens, reward, min_reward
        self.prices = prices  # of a million tokens of prompt and of answer

    def response(self, task: Task, text: str, *, source: str) -> Rollout:
        """An answer by somebody else, as a response to the task."""
        prompt = self.tokens.prompt(task.messages, task.tools)
        return as_response(self.tokens, task, prompt, Trace(text, source), limit=UNBOUNDED)

    def row(self, rollout: Rollout, text: str, *, cut: bool, usage: Usage, told: Mapping[str, Any]) -> dict[str, Any]:
        """A response as the file has it: ``text`` is all of it, and ``told`` who was asked for it, and how."""
        (score,) = self.reward.score([rollout])
        verdict = self._verdict(score, cut)
        task = rollout.task
        return {
            "id": task.id,
            **question_columns(task.messages),
            "answer": task.answer,
            "trace": text,
            **told,
            "accepted": verdict == ACCEPTED,
            "verdict": verdict,
            "reward": score.value,
            **({"failure": score.failure} if score.failure else {}),
            "length": len(rollout.token_ids),  # in the config's own tokens
            **usage._asdict(),
            "cost": self.cost(usage),
            "key": fingerprint(task.messages),
        }

    def cost(self, usage: Usage) -> float | None:
        """None where a price or a count is not known."""
        if self.prices is None or usage.prompt_tokens is None or usage.answer_tokens is None:
            return None
        return (usage.prompt_tokens * self.prices[0] + usage.answer_tokens * self.prices[1]) / 1e6

    def _verdict(self, score: Score, cut: bool) -> str:
        if score.value is None:
            return FAILED
        good = score.correct if self.min_reward is None else score.value >= self.min_reward
        return CUT if cut else ACCEPTED if good else REJECTED
