"""The demo plays to its end, and checks itself."""

from __future__ import annotations

import subprocess
import sys


def test_the_demo_plays():
    """It ends by itself with 0, after a crash that loses nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "archetype.examples.demo"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kill -9" in done.stdout
    assert "same worlds, same values of every entity" in done.stdout
    assert "relative drift" in done.stdout
