"""The commands of the README's chapters on scheduling and on time, run as they stand."""

import re
import shlex
from pathlib import Path

from archetype.client import ArchetypeClient

README = Path(__file__).parents[2] / "README.md"


def test_the_commands_of_the_readme_run(archetype, server):
    """Beside the server of the tests, on a world such as the chapter before makes."""
    blocks = re.findall(r"<!-- run -->\n```console\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    with ArchetypeClient(server.url) as client:
        client.create_world("demo", seed=42)
        client.submit("demo", "add_processor", {"processor": "MovementProcessor"})
        client.spawn("demo", [{"type": "Position"}, {"type": "Velocity", "dx": 1.0}])
        client.run("demo", 100)
    for line in "".join(blocks).splitlines():
        name, *arguments = shlex.split(line)
        assert name == "archetype"
        given = [each.replace("my_sim.processors", "archetype.examples.movement") for each in arguments]
        done = archetype(*given)
        assert done.code == 0, f"{line}: {done.err}"
