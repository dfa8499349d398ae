"""The real command line with the fake training: `python -m tests.orchestrator.fake_command_line …`."""

import os
import sys

from orchestrator.__main__ import main
from tests.orchestrator.fake_engine import FakeEngine

if __name__ == "__main__":
    step_seconds = float(os.environ.get("FAKE_STEP_SECONDS", "0"))
    sys.exit(main(engine=FakeEngine(step_seconds=step_seconds).engine()))
