"""The compose file: in the form of its specification as far as we use it, and held to the house's rules.

No container engine runs here: what the images do is not tested, only that nothing is misspelled or forgotten.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

PATH = Path(__file__).parents[2] / "compose.yaml"
Duration = Annotated[str, Field(pattern=r"^(\d+h)?(\d+m)?(\d+s)?$", min_length=2)]
Size = Annotated[str, Field(pattern=r"^\d+[kmg]$")]
Text = Annotated[str, Field(min_length=1)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Build(Part):
    context: Text
    dockerfile_inline: Text


class Healthcheck(Part):
    test: list[Text]
    interval: Duration
    timeout: Duration
    retries: int
    start_period: Duration


class Dependency(Part):
    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


class Limits(Part):
    cpus: Annotated[str, Field(pattern=r"^\d+(\.\d+)?$")]
    memory: Size
    pids: int


class Resources(Part):
    limits: Limits


class Deploy(Part):
    resources: Resources


class Logging(Part):
    driver: Text
    options: dict[str, str]


class Service(Part):
    image: Text
    build: Build | None = None
    user: Annotated[str, Field(pattern=r"^\d+:\d+$")]
    command: list[Text] = []
    environment: dict[str, str]
    secrets: list[str]
    volumes: list[Text] = []
    tmpfs: list[Text]
    ports: list[Text] = []
    depends_on: dict[str, Dependency] = {}
    healthcheck: Healthcheck | None = None
    deploy: Deploy
    read_only: bool
    init: bool
    cap_drop: list[str]
    security_opt: list[str]
    restart: Literal["no", "always", "on-failure", "unless-stopped"]
    logging: Logging
    shm_size: Size | None = None
    stop_grace_period: Duration | None = None


class Secret(Part):
    file: Text


class Compose(Part):
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    services: dict[str, Service]
    secrets: dict[str, Secret]
    volumes: dict[str, None]


def document():
    loaded = yaml.safe_load(PATH.read_text(encoding="utf-8"))
    return {name: each for name, each in loaded.items() if not name.startswith("x-")}


@pytest.fixture(scope="module")
def compose():
    return Compose.model_validate(document())


def test_the_model_refuses_what_is_misspelled():
    broken = document()
    broken["services"]["db"]["helthcheck"] = {}
    with pytest.raises(ValidationError, match="helthcheck"):
        Compose.model_validate(broken)


def test_every_name_that_is_used_is_declared(compose):
    for name, service in compose.services.items():
        assert set(service.secrets) <= compose.secrets.keys(), name
        assert {each.split(":")[0] for each in service.volumes} <= compose.volumes.keys(), name
        assert service.depends_on.keys() <= compose.services.keys() - {name}
        for other, dependency in service.depends_on.items():
            needs_check = dependency.condition == "service_healthy"
            assert not needs_check or compose.services[other].healthcheck is not None


def test_every_container_has_as_few_rights_as_it_can(compose):
    for name, service in compose.services.items():
        assert service.read_only, name
        assert service.cap_drop == ["ALL"], name
        assert service.security_opt == ["no-new-privileges:true"], name
        assert not service.user.startswith("0:"), name
        assert "/tmp" in service.tmpfs, name
        assert all(each.startswith("127.0.0.1:") for each in service.ports), name
        assert re.search(r":(\d+|local)$", service.image), name


def test_no_secret_stands_in_the_environment(compose):
    for service in compose.services.values():
        for variable, value in service.environment.items():
            assert "PASSWORD" not in variable or variable.endswith("_FILE"), variable
            assert not re.search(r"://[^/]*:[^/]*@", value), variable
    assert compose.services["db"].environment["POSTGRES_PASSWORD_FILE"] == "/run/secrets/database_password"


def test_two_servers_wait_for_one_migration_and_differ_by_their_port_alone(compose):
    first, second = compose.services["server-a"], compose.services["server-b"]
    assert first.model_copy(update={"ports": []}) == second.model_copy(update={"ports": []})
    assert not set(first.ports) & set(second.ports)
    assert first.depends_on["migrate"].condition == "service_completed_successfully"
    assert first.healthcheck is not None
    assert first.restart == "unless-stopped"
    migrate = compose.services["migrate"]
    assert (migrate.command, migrate.restart, migrate.ports) == (["db", "upgrade"], "no", [])
    assert migrate.image == first.image == second.image
    assert compose.services["db"].volumes == ["database:/var/lib/postgresql"]
