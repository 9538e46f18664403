"""Seeds that are simulated each time: what is acknowledged stays, once, whatever dies, pauses or fails."""

import shutil

import pytest

import simulated.world  # noqa: F401  the worlds' classes must be loaded
from archetype.store import leases
from simulated.simulation import Simulation, simulate

SEEDS = 30


def simulation(seed, template, folder):
    path = folder / f"{seed}.db"
    shutil.copy(template, path)
    return Simulation(seed, path)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_goes_wrong_every_answer_holds_and_every_run_ends(seed, sqlite_template, tmp_path):
    simulate(simulation(seed, sqlite_template, tmp_path))


def test_a_seed_leads_to_the_same_trace_to_the_byte(sqlite_template, tmp_path):
    traces = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        simulated = simulation(9, sqlite_template, folder)
        simulated.run()
        traces.append("\n".join(simulated.trace))
    assert traces[0] == traces[1]
    assert "kill" in traces[0]
    assert "commit" in traces[0]


def test_a_lease_that_does_not_hold_is_found(sqlite_template, tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "is_alive", lambda _owner: False)
    found = []
    for seed in range(10):
        try:
            simulate(simulation(seed, sqlite_template, tmp_path))
        except AssertionError as error:
            found.append(str(error))
    assert any("a lease was broken" in each for each in found)
