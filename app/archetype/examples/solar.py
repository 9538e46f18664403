"""The solar system: the Sun, nine planets and the first sixteen asteroids under each other's gravity.

Units are the astronomer's: AU, days, solar masses, and Gauss's k² in the place of G. State vectors are
barycentric, in the ecliptic and equinox of J2000, at `EPOCH_JD`. Where the numbers in `solar.csv` are from:

- planets, Earth with its Moon and Pluto: E. M. Standish, "Keplerian Elements for Approximate Positions of
  the Major Planets" (JPL), table 1, valid 1800-2050: good to 15-20 arc seconds for the inner planets,
  some minutes for Jupiter and Saturn;
- asteroids: osculating elements of the Minor Planet Center's MPCORB at this very epoch, to the digits that
  it prints (1e-7 AU, 1e-5 degrees);
- masses: GM of JPL's DE441 (Park et al. 2021, AJ 161:105), the asteroids' to four figures.

Elements such as these give the sky of any year to a naked eye; they do not make an ephemeris.
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Mapping
from importlib import resources
from typing import Any

import daft
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from daft import DataFrame

from archetype import AsyncProcessor, Component

__all__ = [
    "EPOCH_JD",
    "GAUSSIAN_K",
    "Body",
    "LeapfrogProcessor",
    "Motion",
    "Place",
    "accelerations",
    "angular_momentum",
    "bodies",
    "eccentric_anomaly",
    "leapfrog",
    "state_vector",
    "total_energy",
]

Floats = npt.NDArray[np.float64]

GAUSSIAN_K = 0.01720209895
"""Gauss's constant: the square root of G in AU, days and solar masses (exact by definition)."""

EPOCH_JD = 2455800.5
"""The Julian date of the initial state, 27 August 2011, 0h TT."""

J2000_JD = 2451545.0
DAYS_PER_CENTURY = 36525.0
PLACE_COLUMNS = ("place__x", "place__y", "place__z")
MOTION_COLUMNS = ("motion__vx", "motion__vy", "motion__vz")


class Body(Component):
    """What a body is called, and its mass in solar masses; one of mass zero feels and is not felt."""

    name: str
    mass: float = 0.0


class Place(Component):
    """Where a body is, in AU from the barycentre."""

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0


class Motion(Component):
    """How a body moves, in AU a day."""

    vx: float = 0.0
    vy: float = 0.0
    vz: float = 0.0


class LeapfrogProcessor(AsyncProcessor):
    """Moves all bodies by `step_days` a tick, in `substeps` equal steps of the Störmer-Verlet method.

    Every body of a world must have the same components: a processor sees one archetype at a time.
    """

    components = (Body, Place, Motion)
    priority = 10

    def __init__(self, step_days: float = 1.0, substeps: int = 1) -> None:
        if substeps < 1:
            msg = f"substeps must be at least 1, not {substeps}"
            raise ValueError(msg)
        self.step_days = step_days
        self.substeps = substeps

    async def process(self, df: DataFrame, **kwargs: Any) -> DataFrame:
        """Collect the bodies, move them, and give the same rows and columns back."""
        # The order of the rows is the order of summation, which decides the last bits.
        rows = (await asyncio.to_thread(df.to_arrow)).sort_by("entity_id")
        place, motion = leapfrog(
            _matrix(rows, PLACE_COLUMNS),
            _matrix(rows, MOTION_COLUMNS),
            _masses(rows),
            step_days=self.step_days / self.substeps,
            steps=self.substeps,
        )
        moved = dict(zip(PLACE_COLUMNS + MOTION_COLUMNS, (*place.T, *motion.T), strict=True))
        columns = [
            pa.array(moved[name]) if name in moved else rows.column(name) for name in rows.column_names
        ]
        return daft.from_arrow(pa.table(columns, names=rows.column_names))


def leapfrog(
    place: Floats, motion: Floats, mass: Floats, *, step_days: float, steps: int
) -> tuple[Floats, Floats]:
    """Return places and motions after `steps` kick-drift-kick steps.

    Störmer-Verlet: of second order, symplectic and time-reversible, so that the energy's error stays bounded
    (Hairer, Lubich and Wanner, Acta Numerica 12, 2003, 399-450). Arrays are (body, axis), in AU and AU/day.
    """
    force = accelerations(place, mass)
    for _ in range(steps):
        half = motion + force * (step_days / 2)
        place = place + half * step_days
        force = accelerations(place, mass)
        motion = half + force * (step_days / 2)
    return place, motion


def accelerations(place: Floats, mass: Floats) -> Floats:
    """Return each body's acceleration by all others in AU/day², Newton's k² Σ mⱼ (rⱼ - rᵢ) / |rⱼ - rᵢ|³."""
    offset = place[np.newaxis, :, :] - place[:, np.newaxis, :]
    square = np.sum(offset * offset, axis=2)
    np.fill_diagonal(square, 1.0)  # a body's offset from itself is zero, whatever it is divided by
    weight = GAUSSIAN_K**2 * mass[np.newaxis, :] / (square * np.sqrt(square))
    return np.sum(weight[:, :, np.newaxis] * offset, axis=1)


def bodies() -> pa.Table:
    """Return the bodies at `EPOCH_JD`, the Sun first, as rows for `world.spawn_many`."""
    source = resources.files("archetype.examples").joinpath("solar.csv")
    lines = list(csv.DictReader(source.read_text(encoding="utf-8").splitlines()))
    mass = np.array([float(line["gm_au3_d2"]) for line in lines]) / GAUSSIAN_K**2
    states = [_heliocentric(line, body_mass) for line, body_mass in zip(lines, mass, strict=True)]
    place, motion = (np.array(vectors) for vectors in zip(*states, strict=True))
    place -= mass @ place / mass.sum()
    motion -= mass @ motion / mass.sum()
    columns = dict(zip(PLACE_COLUMNS + MOTION_COLUMNS, (*place.T, *motion.T), strict=True))
    return pa.table({"body__name": [line["name"] for line in lines], "body__mass": mass} | columns)


def _heliocentric(line: Mapping[str, str], mass: float) -> tuple[Floats, Floats]:
    """Turn one body's elements into place and motion as seen from the Sun."""
    if not line["form"]:
        return np.zeros(3), np.zeros(3)
    centuries = (EPOCH_JD - J2000_JD) / DAYS_PER_CENTURY
    a, e, *angles = (
        float(line[name]) + float(line[f"{name}_cy"] or 0.0) * centuries
        for name in ("a_au", "e", "i_deg", "node_deg", "peri_deg", "mean_deg")
    )
    inclination, node, perihelion, mean = np.radians(angles)
    if line["form"] == "planet":
        # Standish gives longitudes: of the perihelion, ω + Ω, and of the body, M + ω + Ω.
        mean, perihelion = mean - perihelion, perihelion - node
    return state_vector(a, e, inclination, node, perihelion, mean, mu=GAUSSIAN_K**2 * (1.0 + mass))


def state_vector(
    a: float, e: float, inclination: float, node: float, perihelion: float, mean: float, *, mu: float
) -> tuple[Floats, Floats]:
    """Return place (AU) and motion (AU/day) on an ellipse; angles in radians, `perihelion` from the node.

    `mu` in AU³/day². The formulas are in Murray and Dermott, Solar System Dynamics (1999), §2.4 and §2.8.
    """
    anomaly = eccentric_anomaly(mean, e)
    cos_e, sin_e, flat = np.cos(anomaly), np.sin(anomaly), np.sqrt(1.0 - e * e)
    speed = np.sqrt(mu / a) / (1.0 - e * cos_e)
    axes = _perifocal_axes(inclination, node, perihelion)
    place = a * (cos_e - e) * axes[0] + a * flat * sin_e * axes[1]
    motion = -speed * sin_e * axes[0] + speed * flat * cos_e * axes[1]
    return place, motion


def _perifocal_axes(inclination: float, node: float, perihelion: float) -> Floats:
    """Return the unit vectors to perihelion, and a quarter turn along the orbit from it."""
    ci, si = np.cos(inclination), np.sin(inclination)
    cn, sn = np.cos(node), np.sin(node)
    cp, sp = np.cos(perihelion), np.sin(perihelion)
    return np.array(
        [
            [cn * cp - sn * sp * ci, sn * cp + cn * sp * ci, sp * si],
            [-cn * sp - sn * cp * ci, -sn * sp + cn * cp * ci, cp * si],
        ]
    )


def eccentric_anomaly(mean: float, e: float) -> float:
    """Solve Kepler's equation E - e sin E = M to rounding by Newton's method, in radians, for 0 <= e < 1."""
    wrapped = float(np.remainder(mean + np.pi, 2 * np.pi) - np.pi)
    anomaly = wrapped + e * float(np.sin(wrapped)) if e < 0.8 else float(np.copysign(np.pi, wrapped))
    for _ in range(50):
        correction = float((anomaly - e * np.sin(anomaly) - wrapped) / (1.0 - e * np.cos(anomaly)))
        anomaly -= correction
        if abs(correction) < 1e-15:
            break
    return anomaly


def total_energy(table: pa.Table) -> float:
    """Return kinetic plus potential energy, in solar masses AU²/day²."""
    place, motion, mass = _matrix(table, PLACE_COLUMNS), _matrix(table, MOTION_COLUMNS), _masses(table)
    first, second = np.triu_indices(len(mass), k=1)
    distance = np.linalg.norm(place[first] - place[second], axis=1)
    potential = -(GAUSSIAN_K**2) * np.sum(mass[first] * mass[second] / distance)
    return float(0.5 * np.sum(mass * np.sum(motion * motion, axis=1)) + potential)


def angular_momentum(table: pa.Table) -> Floats:
    """Return the vector of total angular momentum, in solar masses AU²/day."""
    place, motion = _matrix(table, PLACE_COLUMNS), _matrix(table, MOTION_COLUMNS)
    return _masses(table) @ np.cross(place, motion)


def _matrix(table: pa.Table, names: tuple[str, ...]) -> Floats:
    return np.column_stack([table.column(name).to_numpy() for name in names])


def _masses(table: pa.Table) -> Floats:
    return np.asarray(table.column("body__mass").to_numpy(), dtype=np.float64)
