"""Parts of a reward whose work is done in other processes: they tell good from bad text, and take their time."""

from __future__ import annotations

import time

from llmft.reward.failed import Failed
from llmft.types import Program

PAUSE_S = 0.03  # for each response: enough to be killed in its middle


def good(text):
    """How many characters are digits or small letters."""
    return sum(one.isdigit() or one.islower() for one in text)


class Apart:
    """In a worker, for it does not say that it ends by itself."""

    minimum = 0.0

    def __call__(self, rollouts):
        time.sleep(PAUSE_S * len(rollouts))
        return [float(good(one.text)) for one in rollouts]


class Boxed:
    """In the sandbox."""

    minimum, bounded = 0.0, True
    source = (
        f"import time\ntime.sleep({PAUSE_S})\n"
        "def good(text):\n    return sum(one.isdigit() or one.islower() for one in text)\n"
    )

    def __init__(self, sandbox):
        self.sandbox = sandbox

    def __call__(self, rollouts):
        ran = self.sandbox.run([Program(self.source, calls=(f"good({one.text!r})",)) for one in rollouts])
        return [Failed(one.error) if one.status == "sandbox_error" else float(one.returned[0].value) for one in ran]
