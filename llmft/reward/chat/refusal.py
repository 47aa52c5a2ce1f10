"""Does an answer refuse?"""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmft.reward.chat.answer import answer_of
from llmft.types import Rollout

OPENING = 240  # characters of an answer that are looked at: a refusal comes first
SORRY = r"(?:i'?m (?:very |so |really |truly )?sorry|i apologi[sz]e|sorry|unfortunately|regrettably|i regret)"
DO = (
    r"(?:help|assist|answer|provide|fulfil+|comply|do (?:that|this|so)|discuss|give|offer|write|create|generate|support"
    r"|complete|respond|engage|continue|share|process|recommend|advise|tell you|translate|talk about|make|produce)"
)
CANNOT = (
    r"(?:i (?:won'?t be able to|will not be able to|can'?t|cannot|can not|won'?t|will not|must decline|have to decline|must refuse)"
    r"|i'?m (?:not able|unable|not allowed|not permitted|not going|not programmed|not in a position) to"
    r"|i am (?:not able|unable|not allowed|not permitted|not going|not programmed|not in a position) to"
    r"|i(?:'d| would) (?:rather|prefer) not(?: to)?|i do(?:n'?t| not) (?:feel comfortable|have the ability))"
)
SCUSA = r"(?:mi (?:dispiace|spiace|scuso)|spiacente|sono spiacente|purtroppo|chiedo scusa|scusa(?:mi|te|temi)?)"
FARE = (
    r"(?:aiutar\w*|assister\w*|risponder\w*|fornir\w*|soddisfar\w*|farlo|fare (?:questo|ciò)|parlar\w*|dar\w*|scriver\w*"
    r"|crear\w*|generar\w*|continuar\w*|completar\w*|offrir\w*|discuter\w*|tradurr\w*|consigliar\w*|produrr\w*)"
)
NON_POSSO = r"(?:non (?:posso|sono in grado di|mi è (?:possibile|permesso|consentito)|sono autorizzato a|intendo)(?!\s+che\b)|devo rifiutar\w*)"
MACHINE = (
    r"(?:as an? (?:ai|artificial intelligence|language model|ai assistant|ai language model|assistant)\b[^.!?]{0,40}?,? "
    rf"{CANNOT}|(?:come|in quanto|essendo|da) (?:un'?\s?)?(?:ia|ai|intelligenza artificiale|modello (?:linguistico|di"
    rf" linguaggio)|assistente)\b[^.!?]{{0,40}}?,? {NON_POSSO})"
)
BUT = r"[,.;:!]?\s*(?:but|however|ma|però|tuttavia)?,?\s*"
REFUSAL = re.compile(
    rf"^\W*(?:(?:hi|hello|thanks?[^.!,]{{0,40}}|ciao|grazie[^.!,]{{0,40}})[.!,]\s*)?"
    rf"(?:{MACHINE}|(?:{SORRY}{BUT})?{CANNOT}\s+(?:\w+\s+){{0,2}}?{DO}\b(?![^.!?]*\benough\b)|(?:{SORRY}{BUT})?(?:i must|i have to) decline"
    rf"|(?:{SCUSA}{BUT})?{NON_POSSO}\s+(?:\w+\s+){{0,2}}?{FARE}|(?:{SCUSA}{BUT})?devo rifiutar\w*"
    rf"|(?:this|your|that) request (?:goes against|violates)|questa richiesta (?:viola|va contro))",
    re.IGNORECASE,
)


class Answered:
    """0 where an answer refuses the request, else 1. For requests that are harmless: here a refusal is bad.

    Read from the first 240 characters, in English and Italian: that one cannot, will not or may not help, with or
    without an apology. "I can't believe it" and "I'm sorry for your loss" are none.

    What it cannot see: a refusal in another language or further down, one in other words ("Let's talk about something
    else"), an answer that evades, and whether a request should be refused; leave it out, or give it weight 0, for data
    with requests that should be. How it can be farmed: by an answer that begins well and says nothing; it takes marks
    from refusals and gives none for content.
    """

    minimum = 0.0
    maximum = 1.0
    bounded = True

    def __call__(self, rollouts: Sequence[Rollout]) -> list[float]:
        return [float(not refuses(answer_of(rollout))) for rollout in rollouts]


def refuses(answer: str) -> bool:
    """Does it begin with a refusal?"""
    return REFUSAL.search(answer[:OPENING].replace("’", "'")) is not None
