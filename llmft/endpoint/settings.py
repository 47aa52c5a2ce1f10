"""What a user says about an endpoint, wherever it is said: what the settings are called, and what is wrong with them."""

from __future__ import annotations

import os
from typing import NamedTuple
from urllib.parse import urlsplit

from llmft.config import ConfigError, Fault

KEY_ENV = "OPENAI_API_KEY"


class Settings(NamedTuple):
    """What a user calls them, for faults and advice."""

    url: str
    model: str
    key_env: str
    request: str  # those that a request is made of, beside the model


def url_faults(name: str, url: str) -> list[Fault]:
    """Why the setting ``name`` is no address."""
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or True)
    except ValueError:
        whole, parts = False, None
    if parts and (parts.username or parts.password):
        return [Fault(name, "...", "it has a secret in it", "put the key into an environment variable")]
    return [] if whole else [Fault(name, url, "it is no address", "write e.g. https://api.deepseek.com/v1")]


def read_key(name: str, env: str | None) -> str | None:
    """The key in the environment variable that the setting ``name`` names; else the usual one's, where it has one.

    Raises ConfigError, which never shows what a variable holds.
    """
    key = os.environ.get(env or KEY_ENV, "").strip()
    if env and not key:
        raise ConfigError([Fault(name, env, "there is no such environment variable", f"export {env}=...")])
    if not (key.isascii() and key.isprintable() and " " not in key):
        where = f"${env or KEY_ENV}"
        raise ConfigError([f"{where}: what it holds cannot be a key: a space or another odd character; set it again"])
    return key or None
