"""What a person who waits sees."""

from __future__ import annotations

import io
import logging
import sys
from types import SimpleNamespace

from rich.console import Console

from llmft.trainer.progress import ShowProgress


def test_what_is_logged_stands_above_the_bar(monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stdout", terminal)
    handler, log = logging.StreamHandler(sys.stdout), logging.getLogger("somebody")
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        shown = ShowProgress(Console(force_terminal=True, width=60))
        learner = SimpleNamespace(steps_done=0, max_steps=4, row={})
        shown.on_train_start(SimpleNamespace(is_global_zero=True), learner)
        log.warning("a word")
        assert "a word\n" in terminal.getvalue().replace("\x1b[2K", "").splitlines(keepends=True)
        shown.on_train_end(SimpleNamespace(), learner)
        assert handler.stream is terminal
    finally:
        root.removeHandler(handler)
