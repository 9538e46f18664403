"""The solar system: its data, Kepler's and Newton's laws, and a replayable run."""

from __future__ import annotations

import csv
from importlib import resources

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import text

from archetype import ArchetypeRuntime
from archetype.examples import solar
from archetype.examples.solar import Body, LeapfrogProcessor, Motion, Place

K = solar.GAUSSIAN_K
PLANETS = ["Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune", "Pluto"]


def arrays(table: pa.Table):
    place = np.column_stack([table.column(f"place__{axis}").to_numpy() for axis in "xyz"])
    motion = np.column_stack([table.column(f"motion__v{axis}").to_numpy() for axis in "xyz"])
    return place, motion, table.column("body__mass").to_numpy()


def as_table(place, motion, mass) -> pa.Table:
    names = [f"place__{axis}" for axis in "xyz"] + [f"motion__v{axis}" for axis in "xyz"]
    return pa.table({"body__mass": mass} | dict(zip(names, (*place.T, *motion.T), strict=True)))


def run(days: int, step_days: float = 1.0):
    """Yield the state after each day."""
    place, motion, mass = arrays(solar.bodies())
    for _ in range(days):
        place, motion = solar.leapfrog(place, motion, mass, step_days=step_days, steps=round(1 / step_days))
        yield as_table(place, motion, mass)


# ---- data ------------------------------------------------------------------------------------------


def test_the_file_names_every_body_once_and_gives_ellipses():
    source = resources.files("archetype.examples").joinpath("solar.csv")
    lines = list(csv.DictReader(source.read_text(encoding="utf-8").splitlines()))
    names = [line["name"] for line in lines]
    assert len(set(names)) == len(names) == 26
    assert names[:10] == ["Sun", *PLANETS]
    for line in lines[1:]:
        assert 0.0 <= float(line["e"]) < 1.0
        assert float(line["a_au"]) > 0.3
        assert 0.0 <= float(line["gm_au3_d2"]) < 3e-7
        assert (line["form"] == "planet") == (line["mean_deg_cy"] != "")


@pytest.mark.parametrize(
    ("name", "sun_ratio"),
    [("Jupiter", 1047.348644), ("Saturn", 3497.9018), ("Earth", 328900.5596), ("Mercury", 6.0236e6)],
)
def test_masses_agree_with_the_ratios_of_the_iau_2009_system(name: str, sun_ratio: float):
    table = solar.bodies()
    mass = dict(
        zip(table.column("body__name").to_pylist(), table.column("body__mass").to_pylist(), strict=True)
    )
    assert mass["Sun"] == pytest.approx(1.0, rel=1e-10)
    assert 1.0 / mass[name] == pytest.approx(sun_ratio, rel=2e-5)


def test_planets_move_at_the_rate_that_their_distance_asks_for():
    """Kepler's third law ties two published columns together, so that a slip in either shows."""
    source = resources.files("archetype.examples").joinpath("solar.csv")
    for line in csv.DictReader(source.read_text(encoding="utf-8").splitlines()):
        if line["form"] == "planet":
            mu = K**2 + float(line["gm_au3_d2"])
            rate_deg_cy = np.degrees(np.sqrt(mu / float(line["a_au"]) ** 3)) * 36525
            assert rate_deg_cy == pytest.approx(float(line["mean_deg_cy"]), rel=1e-3)


def test_earth_stands_opposite_the_sun_of_that_day():
    """On 27 August 2011, 0h TT, the Sun's longitude is 153.3° (153.17° in the equinox of J2000)."""
    place, _, _ = arrays(solar.bodies())
    offset = place[3] - place[0]
    longitude = np.degrees(np.arctan2(offset[1], offset[0])) % 360
    assert longitude == pytest.approx(333.2, abs=0.15)
    assert np.linalg.norm(offset) == pytest.approx(1.0104, abs=5e-4)


def test_the_barycentre_rests_at_the_origin():
    place, motion, mass = arrays(solar.bodies())
    assert np.abs(mass @ place).max() < 1e-15
    assert np.abs(mass @ motion).max() < 1e-17


# ---- Kepler ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean_deg", "e", "anomaly_deg"),
    [(5.0, 0.1, 5.554589), (5.0, 0.9, 33.344447), (5.0, 0.99, 45.361023), (180.0, 0.5, 180.0)],
)
def test_keplers_equation_has_the_known_solutions(mean_deg: float, e: float, anomaly_deg: float):
    """Meeus, Astronomical Algorithms, chapter 30: example 30.a and the table of hard cases."""
    anomaly = solar.eccentric_anomaly(np.radians(mean_deg), e)
    assert abs(np.degrees(anomaly)) == pytest.approx(anomaly_deg, abs=1e-6)


def test_keplers_equation_holds_everywhere():
    for e in np.linspace(0.0, 0.99, 34):
        for mean in np.linspace(-3.1, 3.1, 41):
            anomaly = solar.eccentric_anomaly(mean, e)
            assert anomaly - e * np.sin(anomaly) == pytest.approx(mean, abs=1e-14)


def test_a_state_vector_has_its_ellipses_energy_and_angular_momentum():
    a, e, mu = 2.5, 0.3, K**2
    place, motion = solar.state_vector(a, e, 0.2, 1.0, 2.0, 3.0, mu=mu)
    assert motion @ motion / 2 - mu / np.linalg.norm(place) == pytest.approx(-mu / (2 * a), rel=1e-14)
    spin = np.cross(place, motion)
    assert np.linalg.norm(spin) == pytest.approx(np.sqrt(mu * a * (1 - e * e)), rel=1e-14)
    assert spin[2] / np.linalg.norm(spin) == pytest.approx(np.cos(0.2), rel=1e-14)


# ---- Newton ----------------------------------------------------------------------------------------


def test_energy_swings_by_under_two_millionths_and_does_not_drift():
    """The swing is Mercury's, at one step a day: 1.6e-6, no more in the third year than the first."""
    start = solar.total_energy(solar.bodies())
    errors = np.array([(solar.total_energy(table) - start) / abs(start) for table in run(3 * 365)])
    assert np.abs(errors).max() < 2e-6
    swings = [np.ptp(errors[day : day + 365]) for day in (0, 365, 730)]
    assert max(swings) < 1.05 * min(swings)


def test_the_energy_error_falls_with_the_square_of_the_step():
    start = solar.total_energy(solar.bodies())
    worst = [
        max(abs(solar.total_energy(table) - start) for table in run(88, step_days))
        for step_days in (1.0, 0.5)
    ]
    assert worst[0] / worst[1] == pytest.approx(4.0, rel=0.1)


def test_angular_momentum_is_kept_to_rounding():
    start = solar.angular_momentum(solar.bodies())
    for table in run(400):
        change = solar.angular_momentum(table) - start
    assert np.linalg.norm(change) < 1e-13 * np.linalg.norm(start)


def test_time_can_be_turned_round():
    place, motion, mass = arrays(solar.bodies())
    there = solar.leapfrog(place, motion, mass, step_days=1.0, steps=200)
    back, _ = solar.leapfrog(there[0], -there[1], mass, step_days=1.0, steps=200)
    assert np.abs(back - place).max() < 1e-12


def test_earth_is_back_after_a_sidereal_year():
    """365.25 days in steps of six hours bring it back to 0.0004 AU; the step and Jupiter make the rest."""
    place, motion, mass = arrays(solar.bodies())
    end, _ = solar.leapfrog(place, motion, mass, step_days=0.25, steps=1461)
    assert np.linalg.norm((end[3] - end[0]) - (place[3] - place[0])) < 5e-4


def test_two_bodies_attract_each_other_by_newtons_law():
    place = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    force = solar.accelerations(place, np.array([1.0, 0.5]))
    assert force[0] == pytest.approx([K**2 * 0.5 / 4, 0, 0], rel=1e-15)
    assert force[1] == pytest.approx([-(K**2) / 4, 0, 0], rel=1e-15)


# ---- the world -------------------------------------------------------------------------------------


def test_substeps_must_be_at_least_one():
    with pytest.raises(ValueError, match="at least 1"):
        LeapfrogProcessor(substeps=0)


async def test_a_world_computes_what_numpy_computes(database_url: str):
    async with ArchetypeRuntime(database_url) as runtime:
        world = runtime.world("solar", processors=[LeapfrogProcessor(step_days=1.0, substeps=2)])
        ids = await world.spawn_many(solar.bodies())
        await world.run(5)
        table = (await world.query(Body, Place, Motion)).to_arrow()
    assert ids == list(range(ids[0], ids[0] + 26))
    place, motion, mass = arrays(solar.bodies())
    expected = solar.leapfrog(place, motion, mass, step_days=0.5, steps=10)
    assert np.array_equal(arrays(table)[0], expected[0])
    assert np.array_equal(arrays(table)[1], expected[1])


async def test_two_worlds_of_one_seed_have_the_same_state_hashes(sqlite_url: str):
    query = text("SELECT world_id, tick, state_hash FROM ticks ORDER BY tick")
    async with ArchetypeRuntime(sqlite_url) as runtime:
        for name in ("one", "two"):
            world = runtime.world(name, processors=[LeapfrogProcessor()], seed=42)
            await world.spawn_many(solar.bodies())
            await world.run(20)
        services = await runtime.services()
        found = await services.database.read(lambda connection: connection.execute(query).fetchall())
    assert len(found) == 40
    for tick in range(20):
        first, second = [bytes(row.state_hash) for row in found if row.tick == tick]
        assert first == second
    assert len({bytes(row.state_hash) for row in found}) == 20


async def test_a_body_that_is_gone_pulls_no_more(sqlite_url: str):
    async with ArchetypeRuntime(sqlite_url) as runtime:
        world = runtime.world("solar", processors=[LeapfrogProcessor()])
        ids = await world.spawn_many(solar.bodies())
        await world.step()
        before = (await world.query(Body, Place, Motion)).to_arrow()
        await world.despawn(ids[5])
        await world.step()
        after = (await world.query(Body, Place, Motion)).to_arrow()
    assert after.num_rows == 25
    keep = before.filter(pa.compute.not_equal(before.column("entity_id"), ids[5]))
    place, _ = solar.leapfrog(*arrays(keep), step_days=1.0, steps=1)
    assert np.array_equal(arrays(after)[0], place)
