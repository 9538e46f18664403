"""What importing the package does to the process that imports it."""

import os
import subprocess
import sys

REPORTS = """
import threading
started = []
start = threading.Thread.start
threading.Thread.start = lambda thread: (started.append(thread.name), start(thread))
import archetype.examples.movement
print(started)
"""


def test_nothing_is_reported_to_anybody():
    """Daft tells its makers of each import, unless the environment said not to before that."""
    silenced = {"DO_NOT_TRACK", "DAFT_ANALYTICS_ENABLED", "SCARF_NO_ANALYTICS"}
    environment = {name: value for name, value in os.environ.items() if name not in silenced}
    found = subprocess.run(
        [sys.executable, "-c", REPORTS], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
