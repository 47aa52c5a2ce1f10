"""Is an answer in the language that was asked for?"""

from __future__ import annotations

import pytest
from talk import said

from llmft.reward.chat.language import Match, languages_for

EN = "The capital of France is Paris, and it is on the river Seine."
IT = "La capitale della Francia è Parigi, che è sul fiume Senna."
DE = "Die Hauptstadt von Frankreich ist Paris, und sie liegt an der Seine."
CODE = "```python\nprint('Paris')\n```"


@pytest.mark.parametrize(
    ("request_", "allowed"),
    [
        ("What is the capital of France?", {"en"}),
        ("Qual è la capitale della Francia?", {"it"}),
        ("What is the capital of France? Answer in Italian.", {"it"}),
        ("Please explain to me in German what the capital of France is.", {"de"}),
        ("Scrivi in inglese una lettera a mia zia, che è malata.", {"en"}),
        ("Qual è la capitale della Francia? Rispondi solo in tedesco.", {"de"}),
        ("How do you say good morning in French?", {"en", "fr"}),
        ("Translate this into German: the house is big", {"en", "de"}),
        ("Write a translation of it into German, please, for my aunt", {"en", "de"}),
        ("Come si dice buongiorno in spagnolo?", {"it", "es"}),
        ("What did they speak in Italian schools in the past?", {"en", "it"}),
        ("xyz", set()),
        ("2 + 2", set()),
    ],
)
def test_what_a_request_allows(request_, allowed):
    assert set(languages_for(request_)) == allowed


@pytest.mark.parametrize(
    ("request_", "answer", "value"),
    [
        ("What is the capital of France?", EN, 1.0),
        ("What is the capital of France?", IT, 0.0),
        ("Qual è la capitale della Francia?", EN, 0.0),
        ("What is the capital of France? Answer in Italian.", EN, 0.0),
        ("What is the capital of France? Answer in Italian.", IT, 1.0),
        ("How do you say it in German, that the capital is Paris?", DE, 1.0),
        ("How do you say it in German, that the capital is Paris?", EN, 1.0),
        ("How do you say it in German, that the capital is Paris?", IT, 0.0),
        ("What is the capital of France?", "Париж, и это очень большой и красивый город.", 0.0),
        ("What is the capital of France?", "Paris.", 1.0),  # too short to tell
        ("Print the capital of France, in the language that you like.", CODE, 1.0),
        ("xyz", IT, 1.0),  # nothing to compare with
        ("What is the capital of France?", "", 1.0),
    ],
)
def test_answers(request_, answer, value):
    assert Match()([said(answer, request_)]) == [value]
