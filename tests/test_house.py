"""What the house agreed on, and what ships."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import archetype
from archetype import errors

ROOT = Path(__file__).parents[1]


def python(*arguments, cwd=None, path=ROOT / "app"):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARCHETYPE_")}
    environment["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


def test_the_error_tree_is_drawn_whole():
    missing = [
        name
        for name in errors.__all__
        if name.endswith("Error")
        and f" {name} " not in f"{errors.__doc__} "
        and f" {name}\n" not in errors.__doc__
    ]
    assert missing == []
    codes = [getattr(errors, name).code for name in errors.__all__ if name.endswith("Error")]
    assert len(codes) == len(set(codes))


def test_every_public_name_is_there():
    assert [name for name in archetype.__all__ if getattr(archetype, name, None) is None] == []


def test_importing_the_package_imports_nothing_heavy():
    heavy = {"pyarrow", "daft", "sqlalchemy", "pydantic", "litestar", "httpx"}
    done = python("-c", f"import archetype, sys; print(sorted({heavy!r} & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stderr


def test_scripts_do_not_import_the_server_nor_alembic_nor_daft_before_they_need_them():
    heavy = {"litestar", "uvicorn", "alembic", "httpx", "daft", "pandas"}
    code = f"import sys; from archetype import ArchetypeRuntime; print(sorted({heavy!r} & set(sys.modules)))"
    done = python("-c", code)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_wheel_carries_its_migrations_and_makes_a_schema_without_a_checkout(tmp_path):
    built = python("-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path), cwd=ROOT)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "site-packages"
    zipfile.ZipFile(wheel).extractall(installed)
    command = ["-m", "archetype.cli.main", "db"]
    url = ["--database-url", f"sqlite:///{tmp_path}/fresh.db"]
    for verb in ("upgrade", "check"):
        done = python(*command, verb, *url, cwd=tmp_path, path=installed)
        assert done.returncode == 0, done.stderr + done.stdout
