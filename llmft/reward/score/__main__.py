"""``python -m llmft.reward.score``; see `llmft.reward.score.command`."""

import sys

from llmft.reward.score.command import main

sys.exit(main())
