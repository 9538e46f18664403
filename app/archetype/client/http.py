"""`ArchetypeClient`: the calls of every noun over one connection pool."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from archetype.client import answers
from archetype.client.commands import CommandCalls
from archetype.client.entities import EntityCalls
from archetype.client.episodes import EpisodeCalls
from archetype.client.feeds import FeedCalls
from archetype.client.identities import IdentityCalls
from archetype.client.messages import MessageCalls
from archetype.client.pasts import PastCalls
from archetype.client.resources import ResourceCalls
from archetype.client.runs import RunCalls
from archetype.client.scheduling import SchedulingCalls
from archetype.client.states import StateCalls
from archetype.client.transport import Transport
from archetype.client.worlds import WorldCalls
from archetype.settings import Settings

if TYPE_CHECKING:
    import httpx

__all__ = ["ArchetypeClient"]

TIMEOUT_S = 30.0
RETRY_S = 10.0


class ArchetypeClient(
    WorldCalls,
    CommandCalls,
    MessageCalls,
    ResourceCalls,
    RunCalls,
    EpisodeCalls,
    StateCalls,
    EntityCalls,
    PastCalls,
    SchedulingCalls,
    FeedCalls,
    IdentityCalls,
):
    """Talks to one server, over connections that are used again; use it as a context manager, or `close` it.

    `world` is a name or an id everywhere, and where a state is read, compared, forked or labelled also one
    of its ticks: `demo@120`, `demo@-10` (ten before the last one committed), `demo@label`. What the server
    refuses is raised as the same class of `archetype.errors` that a program inside the server would see; a
    server that cannot be reached is an `UnavailableError`.

    Each changing call carries an Idempotency-Key of its own, so a retry after a broken connection, or after
    the server asked to wait, happens once; retries end after `retry_s` seconds. Steps, runs and replays are
    waited for as long as they take, any other answer `timeout_s` seconds. With an `expected_version` a call
    passes only at that version of the world, else it is a `VersionConflictError`; a retry passes whatever
    it expects. `api_key`, by default that of ARCHETYPE_API_KEY, goes to this server alone.
    """

    def __init__(
        self,
        base_url: str | None = None,
        timeout_s: float = TIMEOUT_S,
        *,
        retry_s: float = RETRY_S,
        api_key: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        settings = Settings.from_environment()
        super().__init__(
            Transport(
                base_url or settings.server_url,
                timeout_s=timeout_s,
                retry_s=retry_s,
                api_key=api_key or settings.api_key,
                transport=transport,
            )
        )

    @property
    def url(self) -> str:
        """The server's URL."""
        return self._transport.url

    def close(self) -> None:
        """End every connection."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def about(self) -> dict[str, Any]:
        """Return what the server says of itself."""
        return self._read("/")

    def is_alive(self) -> bool:
        """Say whether the server answers at all; asks once."""
        return self._transport.probe("/healthz") == 200

    def is_ready(self) -> bool:
        """Say whether the server can work: its database answers and has the right schema; asks once."""
        return self._transport.probe("/readyz") == 200

    def metrics(self) -> str:
        """Return the server's figures in Prometheus' text form."""
        return self._transport.send("GET", "/metrics").text

    def component_types(self) -> list[answers.ComponentType]:
        """Return the components that the server has loaded, with their fields."""
        return self._read("/components")

    def processor_types(self) -> list[answers.ProcessorType]:
        """Return the processors that the server has loaded."""
        return self._read("/processors")
