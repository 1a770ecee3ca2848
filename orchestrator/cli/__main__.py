"""`python -m orchestrator.cli`: the command, where the console script isn't on PATH."""

import sys

from orchestrator.cli import main

sys.exit(main())
