"""The compose file: in the form of its specification as far as we use it, and held to the house's rules.

No container engine runs here: what the images do is not tested, only that nothing is misspelled or forgotten.
"""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

ROOT = Path(__file__).parents[2]
PATH = ROOT / "compose.yaml"
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


def copied(compose):
    """The paths of the build context that the image copies."""
    built = compose.services["server-a"].build.dockerfile_inline
    assert not re.search(r"^ADD ", built, re.MULTILINE)
    return [path for line in re.findall(r"^COPY (.*) \S+$", built, re.MULTILINE) for path in line.split()]


def test_the_image_copies_only_what_the_build_needs(compose):
    """Named one by one: the password, databases and the history lie in the same folder."""
    paths = copied(compose)
    assert {"pyproject.toml", "app", "migrations"} <= set(paths)
    for path in paths:
        assert re.fullmatch(r"[\w.]*\w", path), path
        assert (ROOT / path).exists(), path
    (secret,) = compose.secrets.values()
    assert Path(secret.file.rpartition(":-")[2].rstrip("}")).name not in paths


def test_the_build_context_holds_nothing_else(compose):
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert sorted(rule[1:] for rule in rules if rule.startswith("!")) == sorted(copied(compose))


def test_a_wheel_is_built_from_what_the_image_copies(compose, tmp_path):
    for path in copied(compose):
        take = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
        take(ROOT / path, tmp_path / path)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"archetype/cli/main.py", "archetype/_migrations/env.py", "archetype/_alembic.ini"} <= set(names)


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


def test_the_override_of_the_runbook_fits(compose):
    """It changes both servers alike, and what it mounts is what it names."""
    runbook = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(services:.*?)```", runbook, re.DOTALL)
    services = yaml.safe_load(block)["services"]
    assert services.keys() == {"server-a", "server-b"}
    for name, change in services.items():
        service = compose.services[name].model_dump() | change
        service["environment"] = compose.services[name].environment | change["environment"]
        Service.model_validate(service)
        (mount,) = change["volumes"]
        source, target, mode = mount.split(":")
        assert mode == "ro"
        assert target == f"{change['environment']['PYTHONPATH']}/{Path(source).name}"
        assert change["environment"]["ARCHETYPE_MODULES"].split(".")[0] == Path(source).name
