"""Asking an OpenAI-compatible endpoint: what is sent, what is tried again, and what ends the asking.

The protocol is https://platform.openai.com/docs/api-reference/chat/create. What passes by itself (no connection, no
answer in time, 429, 5xx, a body that is no answer) is tried again after a wait that doubles; what does not (a wrong key,
model or field) is told at once.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from llmft.endpoint.reply import NoReply, Reply, Usage, excerpt, read_reply, read_usage
from llmft.endpoint.settings import Settings
from llmft.types import Message

if TYPE_CHECKING:
    from httpx import AsyncClient, Response

T = TypeVar("T")
PATH = "/chat/completions"
LONGEST_WAIT_S = 600.0  # an endpoint that asks for more patience than this is given up
BUSY = {408, 409, 425, 429}  # and 5xx: the same request may be answered later
HOPELESS = {401, 402, 403, 404, 405}  # key, balance, rights, address: no other question fares better


class Refused(Exception):
    """The endpoint does not take a request as it stands; asking again changes nothing."""

    def __init__(self, why: str, *, hopeless: bool) -> None:
        self.hopeless = hopeless  # nor would another question be answered
        super().__init__(why)


class GaveUp(Exception):
    """Every attempt at a question failed."""


class Trouble(Exception):
    """One attempt failed in a way that may pass."""

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        self.wait_s = wait_s  # at least, says the endpoint
        super().__init__(why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where to ask, as whom, and how patiently."""

    url: str  # with or without /chat/completions
    model: str
    key: str | None = field(repr=False)
    key_env: str  # the environment variable that the key comes from
    fields: Mapping[str, Any]  # of the request, beside model and messages
    timeout_s: float  # for one whole answer
    retries: int  # of one question
    first_wait_s: float  # before the first retry; each next one is twice as long
    connections: int  # at a time
    settings: Settings  # what all this is called where it was said

    @property
    def address(self) -> str:
        """Where a question goes; what follows a ``?`` stays."""
        parts = urlsplit(self.url)
        path = parts.path.rstrip("/")
        return parts._replace(path=path if path.endswith(PATH) else path + PATH).geturl()


class Asker:
    """An endpoint, connected to for as long as the ``async with`` holds."""

    def __init__(self, endpoint: Endpoint, again: Callable[[str], None] = lambda why: None) -> None:
        self.endpoint = endpoint
        self.again = again  # told why something is asked again
        self.paid: list[Usage] = []  # of every answer, those that were no use included
        self._client: AsyncClient | None = None

    async def __aenter__(self) -> Asker:
        import httpx

        key = self.endpoint.key
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=None,  # the whole answer has one
            limits=httpx.Limits(max_connections=self.endpoint.connections),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._client is not None
        await self._client.aclose()

    async def ask(self, messages: Sequence[Message]) -> Reply:
        """The endpoint's answer; raises as `ask_for` does."""
        return await self.ask_for(messages, lambda reply: reply)

    async def ask_for(self, messages: Sequence[Message], read: Callable[[Reply], T]) -> T:
        """What ``read`` makes of the endpoint's answer; where it raises NoReply, the question is asked again.

        Raises:
            Refused: at once, where it says that the request cannot be answered.
            GaveUp: after all attempts.
        """
        asked = {**self.endpoint.fields, "model": self.endpoint.model, "messages": [dict(one) for one in messages]}
        attempts = self.endpoint.retries + 1
        for attempt in range(attempts):
            try:
                return await self._attempt(asked, read)
            except Trouble as trouble:
                pause = max(
                    trouble.wait_s, self.endpoint.first_wait_s * 2.0 ** min(attempt, 30) * random.uniform(0.5, 1)
                )
                if attempt + 1 == attempts or trouble.wait_s > LONGEST_WAIT_S:
                    raise GaveUp(f"{trouble} (attempt {attempt + 1} of {attempts})") from None
                self.again(str(trouble))
                await asyncio.sleep(min(pause, LONGEST_WAIT_S))
        raise AssertionError("there is a last attempt")

    async def _attempt(self, asked: Mapping[str, Any], read: Callable[[Reply], T]) -> T:
        import httpx

        assert self._client is not None
        try:
            async with asyncio.timeout(self.endpoint.timeout_s):
                response = await self._client.post(self.endpoint.address, json=asked)
        except TimeoutError:
            raise Trouble(f"no answer within {self.endpoint.timeout_s:g} s") from None
        except httpx.RequestError as error:
            said = f": {self._masked(str(error))}" if str(error) else ""
            raise Trouble(f"the connection failed, {type(error).__name__}{said}") from None
        text = self._masked(response.content.decode("utf-8", "replace"))
        if response.status_code == 200:
            return self._read(text, read)
        why = f"it answered {response.status_code}, {_told(text) or response.reason_phrase}"
        if response.status_code in BUSY or response.status_code >= 500:
            raise Trouble(why, _wait_asked_for(response))
        raise Refused(f"{why}; {self._advice(response.status_code)}", hopeless=response.status_code in HOPELESS)

    def _read(self, text: str, read: Callable[[Reply], T]) -> T:
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            raise Trouble(f"it answered 200 with no JSON: {excerpt(text) or 'nothing'}") from None
        self.paid.append(read_usage(body))
        try:
            return read(read_reply(body))
        except NoReply as nothing:
            raise Trouble(f"it answered 200 with {nothing}") from None

    def _advice(self, status: int) -> str:
        settings = self.endpoint.settings
        if status in (401, 403):
            key, env = self.endpoint.key, self.endpoint.key_env
            if key:
                return f"look at the key in ${env}"
            return f"put the key into ${env}, or name another with {settings.key_env}"
        if status == 402:
            return "the account has to be filled up"
        if status in (404, 405) or 300 <= status < 400:
            address = self.endpoint.address.partition("?")[0]
            return f"look at {settings.url} and {settings.model} ({address} was asked for {self.endpoint.model})"
        return f"look at {settings.model}, {settings.request} and the length of the prompt"

    def _masked(self, text: str) -> str:
        """What an endpoint said, without the key that it may repeat."""
        return text.replace(self.endpoint.key, "***") if self.endpoint.key else text


def _told(text: str) -> str:
    """The message in the body of a refusal."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return excerpt(text)
    told = body.get("error", body.get("detail", body)) if isinstance(body, Mapping) else body
    return excerpt(str(told.get("message", told) if isinstance(told, Mapping) else told)).rstrip(".")


def _wait_asked_for(response: Response) -> float:
    """Seconds of a Retry-After, which is a number or a date; 0 without."""
    asked = response.headers.get("retry-after", "").strip()
    if asked.isdecimal():
        return float(asked)
    try:
        until = parsedate_to_datetime(asked)
    except ValueError:
        return 0.0
    return max((until.astimezone(UTC) - datetime.now(UTC)).total_seconds(), 0.0)
