"""Which language a text is in: English, Italian, German, French, Spanish, Portuguese, or another.

By the function words (articles, pronouns, prepositions) that any sentence of a language is held together by, with the
letters that only some languages write as a smaller hint, and by script for the languages with one of their own. No
model and no data are read. Code shares words with English (if, for, not, in), so it is taken out first, by its fences
and by lines that read like code; where what remains is too little to tell, nothing is said.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from llmft.reward.chat.answer import prose_of

Language = Literal["en", "it", "de", "fr", "es", "pt", "other"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTION_WORDS: dict[Language, frozenset[str]] = {
    "en": _words(
        "a the of and to in is that it was for on are as with his they at be this have from or had by but what some we can"
        " out other were all there when up use your how said an each she which do their if will way about many then them"
        " would like so these her him has more could no than been who its now did my over down only i you me he not our"
        " please because should just into also very any here where why don't it's i'm you're that's"
    ),
    "it": _words(
        "di che è e la il un a per in una sono non si con del lo da come le i al della più nel dei gli alla ma ha anche"
        " mi ti ci ne se questo questa quello suo sua o dal delle nella degli sul essere stato fare ho hai hanno cosa"
        " perché quando dove chi molto poi dalla alle era ancora tutti tutto sia io tu lui lei noi loro mio mia mie miei tuo tua ogni"
        " qui così due dopo senza tra fra solo puoi dell all nell sull dall quest c un l d po' cui negli dai agli può"
    ),
    "de": _words(
        "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat"
        " dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis"
        " mehr durch man sein wurde ich du wir ihr mich mir dir uns kein keine wenn dann was wer warum sehr kann gibt"
        " schon diese dieser dieses ihre seine hier jetzt"
    ),
    "fr": _words(
        "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont la avec ou son"
        " elle nous vous je tu on mais comme aux cette ces ses leur leurs été être fait faire tout tous très bien où"
        " quand aussi sans si même peut entre après mon ma mes ton votre notre l d j qu n s c m t lui"
        " y avoir avait ont quoi pourquoi donc alors"
    ),
    "es": _words(
        "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha me si sin sobre"
        " este ya entre cuando todo esta ser son dos también fue había era muy años hasta desde está mi porque qué sólo"
        " han yo hay vez puede todos así nos ni parte tiene él uno donde bien tú usted ellos ella esto eso mis tu cómo"
        " soy eres somos estoy quién cuál hacer las"
    ),
    "pt": _words(
        "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à seu sua"
        " ou ser quando muito há nos já está eu também só pelo pela até isso ela entre era depois sem mesmo aos ter"
        " seus quem nas me esse eles estão você tinha foram essa num nem suas meu às minha têm numa pelos elas qual"
        " são isto aquilo aqui onde porque fazer dele nós"
    ),
}
LETTERS: dict[Language, str] = {"de": "äöüß", "fr": "çêëîïœûùâ", "es": "ñ¿¡", "pt": "ãõ", "it": "ìò"}
LATIN = "LATIN"  # the script of the six; a text mostly in any other is in another language
LONGEST = 5_000  # characters of prose that are looked at
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
ELIDED = re.compile(r"(?P<article>[^\W\d_]{1,6})'.")
LETTER = 0.5  # of a function word, for each word with a letter that few languages write
LEAST_WORDS = 4  # with fewer nothing can be told
LEAST_SHARE = 0.12  # of words that are function words, in a language that is known; prose has 0.35 to 0.6
OTHER_WORDS = 20  # from so many on, a text with fewer is in a language that is not
LEAD = 1.1  # times as many as the next language


def language_of(text: str) -> Language | None:
    """The language of a text's prose; None where there is too little of it, or it is between two."""
    words = [word.lower().replace("’", "'") for word in WORD.findall(prose_of(text)[:LONGEST])]
    if _foreign(words):
        return "other"
    if len(words) < LEAST_WORDS:
        return None
    scores: dict[Language, float] = dict.fromkeys(FUNCTION_WORDS, 0.0)
    for word, times in Counter(words).items():
        for language, worth in _tells(word):
            scores[language] += worth * times
    (best, most), (_, next_most) = sorted(scores.items(), key=lambda one: -one[1])[:2]
    if most / len(words) < LEAST_SHARE:
        return "other" if len(words) >= OTHER_WORDS else None
    return best if most >= LEAD * next_most else None


def _tells(word: str) -> Iterator[tuple[Language, float]]:
    """The languages that a word speaks for, and how much."""
    elided = ELIDED.match(word) if "'" in word else None
    for language, known in FUNCTION_WORDS.items():
        if word in known or (elided and elided["article"] in known):
            yield language, 1.0
    if not word.isascii():
        for language, letters in LETTERS.items():
            if any(letter in word for letter in letters):
                yield language, LETTER


def _foreign(words: list[str]) -> bool:
    """Is most of it in another script than Latin?"""
    letters = "".join(words)
    strange = sum(not unicodedata.name(letter, "").startswith(LATIN) for letter in letters if not letter.isascii())
    return strange > len(letters) / 2
