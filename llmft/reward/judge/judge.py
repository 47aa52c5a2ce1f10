"""A model that marks answers by a rubric, over any OpenAI-compatible endpoint."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt

from llmft.config import ConfigError, Fault
from llmft.endpoint.asker import Asker, Endpoint, GaveUp, Refused
from llmft.endpoint.reply import NoReply, Reply
from llmft.endpoint.settings import KEY_ENV, Settings, read_key, url_faults
from llmft.reward.chat.answer import answer_of
from llmft.reward.failed import Failed
from llmft.reward.judge.memory import Memory
from llmft.reward.judge.rubric import Rubric
from llmft.types import Message, Rollout

SETTINGS = Settings("reward.judge.url", "reward.judge.model", "reward.judge.key_env", "reward.judge.fields")
OURS = {"model", "messages", "stream", "n"}  # of a request's fields
PATIENCE = 4  # questions, beside those under way, that fail in a row before the rest of a batch is not asked
PROBE = ([{"role": "user", "content": "What is the capital of Italy?"}], "Rome.")

Marks = dict[str, int]  # of each criterion


class Judge:
    """Marks answers; without a ``url`` there is none.

    Args:
        url: of the endpoint, with or without ``/chat/completions``.
        model: its name there.
        key_env: the environment variable with the key; null takes OPENAI_API_KEY where it is set.
        rubric: what each criterion asks for, by its name.
        lowest: of the marks, which are whole numbers;
        highest: of them.
        fields: further ones of a request.
        timeout_s: seconds for one reply.
        response_s: seconds for one response, with all that is tried again.
        retries: of one question, where no reply came or one outside of the rubric.
        first_wait_s: seconds before the first of them; each next wait is twice as long.
        connections: questions at a time.
        cache: file that marks are kept in, for other runs too; null for memory alone.

    Raises ConfigError for settings that cannot be.
    """

    def __init__(
        self,
        *,
        url: str | None,
        model: str | None,
        key_env: str | None,
        rubric: dict[str, str],
        lowest: int,
        highest: int,
        fields: dict[str, Any],
        timeout_s: Annotated[float, Gt(0)],
        response_s: Annotated[float, Gt(0)],
        retries: Annotated[int, Ge(0)],
        first_wait_s: Annotated[float, Ge(0)],
        connections: Annotated[int, Ge(1)],
        cache: str | None,
    ) -> None:
        self.rubric = Rubric(rubric, lowest, highest)
        self.response_s = response_s
        self.memory = Memory(Path(cache) if cache else None)
        self.endpoint: Endpoint | None = None
        faults = list(_faults(url, model, self.rubric, fields))
        key = None
        try:
            key = read_key(SETTINGS.key_env, key_env) if url else None
        except ConfigError as error:
            faults += error.faults
        if faults:
            raise ConfigError(faults)
        if url and model:
            self.endpoint = Endpoint(
                url=url,
                model=model,
                key=key,
                key_env=key_env or KEY_ENV,
                fields=fields,
                timeout_s=timeout_s,
                retries=retries,
                first_wait_s=first_wait_s,
                connections=connections,
                settings=SETTINGS,
            )

    def mark(self, rollouts: Sequence[Rollout]) -> list[Marks | Failed]:
        """The marks of each rollout's answer, or why there are none; equal answers to a request are asked for once."""
        questions = [self.rubric.question(one.task.messages, answer_of(one)) for one in rollouts]
        keys = [self._key(question) for question in questions]
        made: dict[str, Marks | Failed] = dict(self._remembered(keys))
        missing = {key: question for key, question in zip(keys, questions, strict=True) if key not in made}
        if missing:
            made |= asyncio.run(_Asking(self, missing).run())
        return [made[key] for key in keys]

    def faults(self) -> list[str]:
        """Why answers could not be marked: what the endpoint says to a first question, and the cache's file."""
        if self.endpoint is None:
            return []
        found = []
        if self.memory.path and (why := self.memory.fault()):
            found.append(
                str(Fault("reward.judge.cache", str(self.memory.path), why, "name a file that can be written"))
            )
        probing = replace(self.endpoint, retries=min(self.endpoint.retries, 1))
        try:
            asyncio.run(self._probe(probing))
        except (GaveUp, Refused) as error:
            why = f"the judge {self.endpoint.model} gave no marks to a first answer: {error}"
            found.append(str(Fault("reward.judge.url", self.endpoint.url, why, "start it, or use null for no judge")))
        return found

    def facts(self) -> dict[str, Any]:
        """Who judges, and by what; never the key, nor what an address hides behind a question mark."""
        if self.endpoint is None:
            return {}
        criteria = {"rubric": dict(self.rubric.criteria), "scale": [self.rubric.lowest, self.rubric.highest]}
        address = self.endpoint.address.partition("?")[0]
        return {"model": self.endpoint.model, "url": address, **criteria, "fields": dict(self.endpoint.fields)}

    def read(self, reply: Reply) -> Marks:
        """The marks of a reply. Raises NoReply."""
        return self.rubric.read(reply.text)

    async def _probe(self, endpoint: Endpoint) -> None:
        async with Asker(endpoint) as asker:
            await asker.ask_for(self.rubric.question(*PROBE), self.read)

    def _key(self, question: Sequence[Message]) -> str:
        """Of all that the reply depends on: the model and the whole request, in which rubric and answer stand."""
        assert self.endpoint is not None
        asked = [self.endpoint.model, dict(self.endpoint.fields), list(question)]
        return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()

    def _remembered(self, keys: Sequence[str]) -> Iterator[tuple[str, Marks]]:
        for key, marks in self.memory.find(list(dict.fromkeys(keys))).items():
            try:
                yield key, self.rubric.checked(marks)
            except NoReply:  # not written by us; it is asked for again
                continue


class _Asking:
    """Questions to a judge, several at a time, until all are answered or it makes no sense to go on."""

    def __init__(self, judge: Judge, questions: dict[str, list[Message]]) -> None:
        assert judge.endpoint is not None
        self.judge, self.endpoint = judge, judge.endpoint
        self.left = iter(questions.items())
        self.made: dict[str, Marks | Failed] = dict.fromkeys(questions, Failed("the judge was not asked"))
        self.in_a_row, self.hopeless = 0, ""

    async def run(self) -> dict[str, Marks | Failed]:
        async with Asker(self.endpoint) as asker, asyncio.TaskGroup() as workers:
            for _ in range(min(self.endpoint.connections, len(self.made))):
                workers.create_task(self._work(asker))
        return self.made

    async def _work(self, asker: Asker) -> None:
        for key, question in self.left:
            if self.hopeless:
                self.made[key] = Failed(f"the judge was not asked: {self.hopeless}")
                continue
            try:
                async with asyncio.timeout(self.judge.response_s):
                    marks = await asker.ask_for(question, self.judge.read)
            except (Refused, GaveUp, TimeoutError) as error:
                self._fail(key, error)
                continue
            self.made[key], self.in_a_row = marks, 0
            self.judge.memory.keep(key, marks)

    def _fail(self, key: str, error: Exception) -> None:
        late = f"no marks within {self.judge.response_s:g} s"
        why = late if isinstance(error, TimeoutError) else str(error)
        self.made[key] = Failed(f"{'refused' if isinstance(error, Refused) else 'gave up'}: {why}")
        self.in_a_row += 1
        if getattr(error, "hopeless", False) or self.in_a_row >= self.endpoint.connections + PATIENCE:
            self.hopeless = why


def _faults(url: str | None, model: str | None, rubric: Rubric, fields: dict[str, Any]) -> Iterator[Fault | str]:
    if url is None:
        if model is not None:
            yield Fault("reward.judge.url", None, f"{model} has to be asked somewhere", "e.g. http://localhost:8000/v1")
        return
    yield from url_faults("reward.judge.url", url)
    if not model:
        yield Fault("reward.judge.model", model, "the endpoint has to be told a model", "name one that it serves")
    if not rubric.criteria:
        yield Fault("reward.judge.rubric", "{}", "nothing would be marked", "name a criterion and what it asks for")
    if rubric.highest <= rubric.lowest:
        yield Fault("reward.judge.highest", rubric.highest, f"it is not above lowest={rubric.lowest}", "raise it")
    for taken in sorted(OURS & fields.keys()):
        yield Fault(f"reward.judge.fields.{taken}", fields[taken], "it is not for it to say", "leave it out")
