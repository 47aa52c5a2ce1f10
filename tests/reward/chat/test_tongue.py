"""Which language a text is in, and that code is in none."""

from __future__ import annotations

import ast
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled_prompts import read

from llmft.config import ROOT
from llmft.reward.chat.tongue import language_of

TEXTS = {
    "en": [
        "What is the capital of France?",
        "The dog was asleep under the table, and nobody wanted to wake it.",
        "You should call her before she leaves.",
        "Why don't we go there by train?",
    ],
    "it": [
        "Qual è la capitale della Francia?",
        "Il cane dormiva sotto il tavolo e nessuno voleva svegliarlo.",
        "Dovresti chiamarla prima che parta con gli altri.",
        "L'Italia è un paese dell'Europa del sud.",
    ],
    "de": [
        "Was ist die Hauptstadt von Frankreich?",
        "Der Hund schlief unter dem Tisch, und niemand wollte ihn wecken.",
        "Du solltest sie anrufen, bevor sie geht.",
    ],
    "fr": [
        "Quelle est la capitale de la France ?",
        "Le chien dormait sous la table et personne ne voulait le réveiller.",
        "Tu devrais l'appeler avant qu'elle ne parte.",
    ],
    "es": [
        "¿Cuál es la capital de Francia?",
        "El perro dormía debajo de la mesa y nadie lo quería despertar.",
        "Deberías llamarla antes de que se vaya, porque está muy triste.",
    ],
    "pt": [
        "Qual é a capital da França?",
        "O cão dormia debaixo da mesa e ninguém o queria acordar.",
        "Você deveria ligar para ela antes que ela vá embora.",
    ],
    "other": [
        "Столица Италии - Рим, и это большой город.",
        "意大利的首都是罗马,是一座很美的城市。",
        "Η πρωτεύουσα της Ιταλίας είναι η Ρώμη.",
        "Stolicą Włoch jest Rzym, piękne miasto nad Tybrem, które odwiedza co roku wielu turystów z całego świata, bo "
        "jest tam dużo zabytków oraz doskonała kuchnia.",
        "Huvudstaden heter Rom och ligger vid floden Tibern; varje år kommer många turister från hela världen för att "
        "titta på kyrkor, torg och fontäner samt äta gott.",
    ],
}


@pytest.mark.parametrize(("language", "text"), [(name, text) for name, texts in TEXTS.items() for text in texts])
def test_prose(language, text):
    assert language_of(text) == language


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Roma.",
        "42",
        "3.14 * 2 = 6.28",
        "Ok!",
        "print(x)",
        "for x in range(3):\n    if x is not None and x in xs:\n        print(x)",
        "```\nwhat is the name of the one that is in it\n```",
        "SELECT name FROM users WHERE id IN (1, 2);",
        '{"name": "the", "is": ["of", "and"]}',
    ],
)
def test_nothing_is_said_of_code_numbers_and_a_word_or_two(text):
    assert language_of(text) is None


def test_code_between_prose_does_not_count():
    assert language_of("Ecco il codice che mi hai chiesto:\n\n```python\nif not x and y is in_the: pass\n```") == "it"


def test_programs_are_in_no_language(shared):
    lines = gzip.decompress(shared("data/humaneval/HumanEval.jsonl.gz").read_bytes()).decode().splitlines()
    rows = [json.loads(line) for line in lines]
    programs = [f"def f(x):\n{row['canonical_solution']}\n{row['test']}" for row in rows]
    assert {language_of(program) for program in programs} == {None}


def test_the_suites_own_programs_are_in_no_language():
    for file in (ROOT / "llmft").rglob("*.py"):
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
                node.body = node.body[1:] or [ast.Pass()]
        assert language_of(ast.unparse(tree)) is None, file


def test_questions_of_a_data_set(shared):
    lines = shared("data/gsm8k/test.jsonl").read_text().splitlines()
    said = [language_of(json.loads(line)["question"]) for line in lines]
    assert said.count("en") / len(said) >= 0.998


@pytest.mark.parametrize("language", ["en", "it"])
def test_short_requests_are_seldom_taken_for_another_language(language):
    """One sentence each: some say too little, hardly any says something else."""
    said = [
        language_of(row["prompt"]) for row in read("heldout") if row.get("language") == language and "prompt" in row
    ]
    wrong = [one for one in said if one not in (language, None)]
    assert len(wrong) / len(said) <= 0.02
    assert said.count(language) / len(said) >= 0.7


@given(st.text(max_size=300))
def test_any_text_is_in_some_or_none(text):
    assert language_of(text) in {None, *TEXTS}
