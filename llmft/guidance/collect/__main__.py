"""``python -m llmft.guidance.collect``; see `llmft.guidance.collect.command`."""

import sys

from llmft.guidance.collect.command import main

sys.exit(main())
