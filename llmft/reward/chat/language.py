"""Does an answer come in the language that was asked for?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from llmft.reward.chat.answer import answer_of, prose_of, request_of
from llmft.reward.chat.tongue import Language, language_of
from llmft.types import Rollout

NAMES: dict[Language, str] = {
    "en": r"english|inglese|englisch|anglais|inglés|ingles|inglês",
    "it": r"italian|italiano|italienisch|italien",
    "de": r"german|tedesco|deutsch|allemand|alemán|aleman|alemão",
    "fr": r"french|francese|französisch|français|francais|francés|frances|francês",
    "es": r"spanish|spagnolo|spanisch|espagnol|español|espanol|espanhol|castellano",
    "pt": r"portuguese|portoghese|portugiesisch|portugais|portugués|português|portugues",
    "other": r"chinese|cinese|japanese|giapponese|russian|russo|arabic|arabo|korean|coreano|dutch|olandese|polish|polacco"
    r"|swedish|svedese|turkish|turco|greek|greco|latin|latino|hindi|ukrainian|ucraino|romanian|rumeno|czech|ceco",
}
IN = r"\b(?:in|into|to|auf|ins|en|em|al|to the|in the)(?: plain| simple| good| perfect| brief| buon| semplice)? "
VERB = (
    r"(?:answer|reply|respond|write|explain|speak|talk|continue|tell me|rispond\w*|scriv\w*|spieg\w*|parl\w*|continu\w*"
    r"|antworte\w*|schreib\w*|erkläre?\w*|répond\w*|écri\w*|expliqu\w*|escrib\w*|escrev\w*|explic\w*)"
)
ANSWER = (
    rf"(?:(?:^|[.!?:;,\n]\s*|\b(?:please|must|should|and|can you|could you|would you|per favore|puoi|devi|e|bitte)\s+){VERB}\b"
    r"[^.!?\n]{0,80}?|\b(?:only|solo|soltanto|please|per favore),? )"
)


class Match:
    """1 where an answer is in the language of the request, or in the one that it asks for; 0 where it is in another.

    1 too where there is nothing to hold against it: code, numbers, a few words, a request whose language cannot be
    told. "Answer in German" allows only German; "translate into German" and "how do you say it in German" allow the
    request's own as well. Languages are those of `llmft.reward.chat.tongue`.

    How it can be farmed: by an answer that has no prose in it, so put a length window beside it; what it tells of the
    text's meaning is nothing. What it cannot see: a language that a system prompt or an earlier turn asks for, and
    which of the languages that it does not know an answer is in.
    """

    minimum = 0.0
    maximum = 1.0
    bounded = True

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [float(matches(request_of(one), answer_of(one))) for one in rollouts]


def matches(request: str, answer: str) -> bool:
    """Is the answer in a language that the request allows?"""
    said = language_of(answer)
    allowed = languages_for(request)
    return said is None or not allowed or said in allowed


@cache
def languages_for(request: str) -> frozenset[Language]:
    """Those that an answer may be in; empty where it cannot be told."""
    prose = prose_of(request)
    asked: frozenset[Language] = frozenset(one for one in NAMES if re.search(rf"{IN}(?:{NAMES[one]})\b", prose, re.I))
    only: frozenset[Language] = frozenset(
        one for one in asked if re.search(rf"{ANSWER}{IN}(?:{NAMES[one]})\b", prose, re.I)
    )
    if only and not re.search(r"\b(?:translat|tradu[crz]|übersetz|traduis)", prose, re.I):
        return only
    own = language_of(request)
    return frozenset() if own is None else asked.union([own])
