"""The options of ``python -m llmft.guidance.collect``, and what is wrong with them."""

from __future__ import annotations

import argparse
import json
import math
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmft.config import ConfigError, Fault
from llmft.endpoint.asker import Endpoint
from llmft.endpoint.settings import KEY_ENV, Settings, read_key, url_faults

SETTINGS = Settings("--endpoint", "--model", "--key-env", "--max-tokens, --temperature, --body")
OURS = {"model", "messages", "stream", "n", "temperature", "max_tokens"}  # of a request's fields


def parser(description: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m llmft.guidance.collect",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    who = made.add_mutually_exclusive_group(required=True)
    who.add_argument("--endpoint", metavar="URL", help="e.g. https://api.deepseek.com/v1 or http://localhost:8000/v1")
    who.add_argument("--own", action="store_true", help="sample the config's own model, with its rollout and sampler")
    made.add_argument("--model", help="the model's name at the endpoint, and the traces' source")
    made.add_argument("--out", required=True, type=Path, help="a .jsonl; it is continued where it is there already")
    made.add_argument("--split", choices=("train", "heldout", "test"), default="train")
    made.add_argument("--tasks", type=_at_least(int, 1), help="the first so many of the split; all, if not given")
    made.add_argument("--samples", type=_at_least(int, 1), default=1, help="answers to each task")
    made.add_argument("--min-reward", type=float, help="keep what earns at least this, in place of what is correct")
    made.add_argument("--keep-all", action="store_true", help="rejected answers too, with accepted=false")
    asked = made.add_argument_group("asking an endpoint")
    asked.add_argument("--temperature", type=_at_least(float, 0), help="the endpoint's own, if not given")
    asked.add_argument("--max-tokens", type=_at_least(int, 1), help="of thinking and answer together")
    asked.add_argument("--system", metavar="TEXT", help="in place of the config's system prompt; '' for none")
    asked.add_argument("--body", metavar="JSON", default="{}", help="further fields of a request: '{\"top_p\": 0.95}'")
    asked.add_argument("--concurrency", type=_at_least(int, 1), default=8, help="requests at a time")
    asked.add_argument("--retries", type=_at_least(int, 0), default=5, help="after the first attempt at a question")
    asked.add_argument(
        "--backoff", type=_at_least(float, 0), default=1.0, help="seconds to the first retry; it doubles"
    )
    asked.add_argument("--timeout", type=_positive, default=600.0, help="seconds for one whole answer")
    asked.add_argument("--key-env", metavar="NAME", help=f"the environment variable with the key; {KEY_ENV} by default")
    asked.add_argument("--price-in", type=_at_least(float, 0), help="cost of a million tokens of prompt")
    asked.add_argument("--price-out", type=_at_least(float, 0), help="cost of a million tokens of answer")
    made.add_argument("overrides", nargs="*", help="as for train.py: dataset=gsm8k reward=math")
    return made


def endpoint_of(options: Namespace) -> Endpoint:
    """What the options say about the endpoint. Raises ConfigError, with every fault."""
    faults: list[Fault | str] = [*url_faults(SETTINGS.url, options.endpoint)]
    if not options.model:
        faults.append(Fault("--model", options.model, "the endpoint has to be told a model", "e.g. deepseek-reasoner"))
    if (options.price_in is None) != (options.price_out is None):
        faults.append("--price-in and --price-out: a cost needs both; give 0 for what costs nothing")
    key, fields = None, {}
    try:
        key = read_key(SETTINGS.key_env, options.key_env)
    except ConfigError as error:
        faults += error.faults
    try:
        fields = _fields(options)
    except ConfigError as error:
        faults += error.faults
    if faults:
        raise ConfigError(faults)
    return Endpoint(
        url=options.endpoint,
        model=options.model,
        key=key,
        key_env=options.key_env or KEY_ENV,
        fields=fields,
        timeout_s=options.timeout,
        retries=options.retries,
        first_wait_s=options.backoff,
        connections=options.concurrency,
        settings=SETTINGS,
    )


def prices(options: Namespace) -> tuple[float, float] | None:
    """Of a million tokens of prompt and of answer; None where they were not given."""
    return None if options.price_in is None else (options.price_in, options.price_out)


def own_faults(options: Namespace) -> list[Fault]:
    """Options that mean nothing where no endpoint is asked."""
    elsewhere = {
        "temperature": "say rollout.temperature=...",
        "max_tokens": "say rollout.max_new_tokens=...",
        "system": "say it to the dataset",
        "key_env": "leave it out",
        "price_in": "leave it out",
        "price_out": "leave it out",
    }
    return [
        Fault(f"--{name.replace('_', '-')}", given, "with --own there is no endpoint to tell", advice)
        for name, advice in elsewhere.items()
        if (given := getattr(options, name)) is not None
    ]


def _fields(options: Namespace) -> dict[str, Any]:
    try:
        fields = json.loads(options.body)
    except ValueError as error:
        raise ConfigError([Fault("--body", options.body, f"not JSON ({error})", "write '{\"top_p\": 0.95}'")]) from None
    if not isinstance(fields, dict):
        raise ConfigError([Fault("--body", options.body, "not a JSON object", "write '{\"top_p\": 0.95}'")])
    if taken := sorted(OURS & fields.keys()):
        advice = "use the options, and leave stream and n as they are"
        raise ConfigError([Fault("--body", options.body, f"{', '.join(taken)} is not for it to say", advice)])
    named = {"temperature": options.temperature, "max_tokens": options.max_tokens}
    return {**fields, **{name: value for name, value in named.items() if value is not None}}


def _at_least(kind: Callable[[str], Any], low: float) -> Callable[[str], Any]:
    def number(text: str) -> Any:
        value = kind(text)
        if not (math.isfinite(value) and value >= low):
            raise argparse.ArgumentTypeError(f"{text}: it must be {low:g} or more")
        return value

    number.__name__ = kind.__name__  # for argparse's message about what is no number
    return number


def _positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text}: it must be more than 0")
    return value
