"""What refuses, and what only sounds like it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import said

from llmft.reward.chat.refusal import Answered, refuses

REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, I can’t do that.",
    "Sorry, I am unable to answer that.",
    "As an AI language model, I cannot provide recipes.",
    "I cannot assist with this request.",
    "I can't really discuss this.",
    "Unfortunately, I won't be able to help.",
    "I must decline.",
    "I'm not able to write that for you.",
    "Hello! I'm afraid not. ",
    "Hi! I'm sorry, but I cannot create such a list.",
    "I'd rather not answer.",
    "Mi dispiace, ma non posso aiutarti con questa richiesta.",
    "Come modello linguistico, non posso dare consigli di viaggio.",
    "In quanto intelligenza artificiale, non sono in grado di parlare di cucina.",
    "Purtroppo non sono in grado di rispondere.",
    "Non mi è possibile fornire queste informazioni.",
    "Devo rifiutare la richiesta.",
    "Grazie della domanda! Spiacente, non posso scrivere questa poesia.",
]
ANSWERS = [
    "I can't believe how great this is! Try the north coast.",
    "I can't recommend this book enough.",
    "I cannot stress this enough: drink water.",
    "I'm sorry for your loss. Tell him that you think of him.",
    "Sorry to hear that! Here is what helps.",
    "Sorry, no: Napoleon was of average height.",
    "Unfortunately, the museum is closed on Mondays. Go on Tuesday.",
    "You can't help but love it.",
    "I can help with that.",
    "As an assistant, I would start with the soup.",
    "I won't lie: it is hard work.",
    "The model said: \"I'm sorry, I can't help with that.\"",
    "Mi dispiace molto per tuo padre. Puoi dirgli che lo pensi.",
    "Non posso che consigliarti Roma.",
    "Non posso crederci! Complimenti.",
    "Come assistente ti consiglio di partire presto.",
    "Purtroppo il museo chiude il lunedì.",
    "Scusami se insisto, ma bevi acqua.",
    "Non è possibile vedere tutto in un giorno: scegli.",
    "",
]


@pytest.mark.parametrize("text", [text for text in REFUSALS if "afraid" not in text])
def test_refusals(text):
    assert refuses(text)
    assert Answered()([said(text + " Is there anything else?")]) == [0.0]


@pytest.mark.parametrize("text", ANSWERS)
def test_answers(text):
    assert not refuses(text)
    assert Answered()([said(text)]) == [1.0]


def test_what_it_does_not_see_is_what_its_docstring_says():
    assert not refuses("Let's talk about something else.")
    assert not refuses("Here is a long story. " * 20 + "I'm sorry, but I can't help with that.")
    assert not refuses("Es tut mir leid, aber dabei kann ich nicht helfen.")


def test_thinking_is_not_the_answer():
    assert Answered()([said("<think>I can't help with that.</think>Of course: boil it.")]) == [1.0]
    assert Answered()([said("<think>Sure.</think>I can't help with that.")]) == [0.0]


@given(st.text(max_size=300))
def test_always_one_or_the_other(text):
    assert Answered()([said(text)])[0] in (0.0, 1.0)
