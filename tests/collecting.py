"""How traces are collected in tests: for a lab of 20 sums, of a teacher that can add."""

from __future__ import annotations

import json
import random

from chat_server import completion

from llmft.dataset.lab.addition import Sum

LAB = ["model=scratch", "dataset.train=20", "dataset.heldout=2", "dataset.test=2"]
BASE = "bases/lab_addition_seed1"
QUICK = ["--backoff", "0.01", "--retries", "1"]
OWN = [f"model.path={BASE}", "model=hf", "model.dtype=float32", *LAB[1:]]


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def asks(url, *more):
    return ["--endpoint", url, "--model", "r1", *QUICK, *more]


def worked(question: str, *, wrong=False) -> str:
    """The working of a sum, as the lab's expert writes it."""
    a, b = map(int, question.rstrip("=").split("+"))
    working, answer = Sum(a, b).write(0.0, random.Random(0))
    return f"{working}#{int(answer) + wrong}"


def expert(number, body):
    return completion(worked(body["messages"][-1]["content"]))
