"""What the server's figures read of its services at the moment somebody asks."""

from __future__ import annotations

from collections.abc import Callable

from archetype.api.streaming import EventStreams
from archetype.service.container import ServiceContainer

__all__ = ["gauges"]


def gauges(container: ServiceContainer, streams: EventStreams) -> list[tuple[str, str, Callable[[], float]]]:
    """Return the gauges of a server: name, help, and what reads the value."""
    database, runs = container.database, container.run_service
    simulation = container.simulation_service
    return [
        (
            "archetype_command_queue_depth",
            "Commands that wait for their commit.",
            lambda: container.appender.queue_depth,
        ),
        ("archetype_runs_computing", "Runs that compute now.", lambda: simulation.running_count),
        (
            "archetype_runs_held",
            "Background runs of this process: those that compute, and those that wait for their turn.",
            lambda: runs.held_count,
        ),
        ("archetype_event_streams_open", "Open streams of events.", lambda: streams.open_count),
        (
            "archetype_event_stream_lag_events",
            "Events that the slowest open stream has not read yet.",
            lambda: streams.lag(container.watch.position),
        ),
        (
            "archetype_database_connections_in_use",
            "Connections of the pool that are lent out.",
            lambda: database.connections_in_use,
        ),
        (
            "archetype_database_connections_limit",
            "Connections that this process opens at most.",
            lambda: database.connections_max,
        ),
    ]
