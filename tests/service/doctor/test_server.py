"""What is judged of a PostgreSQL, of a SQLite file's place, and of an installation."""

from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from archetype.service.doctor.files import FilePlace, check_file, check_journal, place_of, readable_size
from archetype.service.doctor.installation import check_installation, unsupported
from archetype.service.doctor.server import check_rights, check_server
from archetype.store.health import FileFacts, ServerFacts

SERVER = ServerFacts(
    version="18.1",
    version_number=180_001,
    now=datetime(2030, 1, 1, tzinfo=UTC),
    user="archetype",
    settings={"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"},
    connections_max=97,
    connection_count=5,
    size_bytes=1 << 30,
)
PLACE = FilePlace(
    path=Path("/data/archetype.db"),
    is_file=True,
    is_writable=True,
    is_folder_writable=True,
    size_bytes=1 << 20,
    wal_bytes=0,
    free_bytes=1 << 40,
    file_system="ext4",
)


def severities(findings):
    return {each.check: each.severity.value for each in findings if each.severity != "ok"}


def test_a_server_as_it_comes_is_in_order():
    assert severities(check_server(SERVER, pool_size=20)) == {}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"version_number": 140_010}, {"database": "error"}),
        ({"settings": {**SERVER.settings, "fsync": "off"}}, {"durability": "error"}),
        ({"settings": {**SERVER.settings, "full_page_writes": "off"}}, {"durability": "error"}),
        ({"settings": {**SERVER.settings, "synchronous_commit": "off"}}, {"durability": "error"}),
        ({"connection_count": 80}, {"connections": "warning"}),
        ({"connection_count": 97}, {"connections": "error"}),
        ({"connections_max": 12}, {"connections": "error"}),
    ],
    ids=["old", "fsync", "pages", "commit", "few", "none", "small"],
)
def test_what_is_wrong_with_a_server(change, found):
    findings = check_server(replace(SERVER, **change), pool_size=20)
    assert severities(findings) == found
    assert all(each.remedy for each in findings if each.check in found)


def test_missing_rights_are_answered_with_their_grants():
    assert check_rights("me", []).severity == "ok"
    found = check_rights('o"dd', ["INSERT on events", "EXECUTE on lock_log", "EXECUTE on iso_utc"])
    assert found.severity == "error"
    assert 'GRANT INSERT ON events TO "o""dd";' in found.remedy
    assert found.remedy.count("GRANT EXECUTE ON ALL FUNCTIONS") == 1


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, {}),
        ({"is_file": False}, {"file": "error"}),
        ({"is_writable": False}, {"file": "error"}),
        ({"is_folder_writable": False}, {"file": "error"}),
        ({"file_system": "nfs4"}, {"file_system": "error"}),
        ({"file_system": None}, {}),
        ({"free_bytes": 1 << 29}, {"disk": "warning"}),
        ({"free_bytes": 1 << 41, "size_bytes": 1 << 42}, {"disk": "warning"}),
        ({"free_bytes": 1 << 20}, {"disk": "error"}),
        ({"wal_bytes": 1 << 30}, {"wal": "warning"}),
    ],
    ids=["good", "missing", "file", "folder", "network", "unknown", "little", "copy", "full", "wal"],
)
def test_what_is_wrong_with_a_files_place(change, found):
    assert severities(check_file(replace(PLACE, **change))) == found


def test_a_place_is_looked_at_and_not_made(tmp_path):
    path = tmp_path / "none" / "archetype.db"
    seen = place_of(path)
    assert (seen.is_file, seen.size_bytes, seen.wal_bytes) == (False, 0, 0)
    assert not path.parent.exists()
    (tmp_path / "a.db").write_bytes(b"12345")
    (tmp_path / "a.db-wal").write_bytes(b"123")
    seen = place_of(tmp_path / "a.db")
    assert (seen.is_file, seen.size_bytes, seen.wal_bytes, seen.is_writable) == (True, 5, 3, True)
    assert seen.free_bytes > 0


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        (FileFacts("3.40.1", "wal"), {}),
        (FileFacts("3.40.1", "delete"), {"durability": "warning"}),
        (FileFacts("3.7.17", "wal"), {"database": "error"}),
    ],
    ids=["good", "journal", "old"],
)
def test_the_journal_and_the_version_of_sqlite(facts, found):
    assert severities(check_journal(facts)) == found


def test_libraries_are_held_against_what_the_release_needs():
    present = {"one": "2.5", "two": "1.0", "extra": "0"}

    def version_of(name):
        if name not in present:
            raise PackageNotFoundError(name)
        return present[name]

    needed = ["one>=2,<3", "two>=1.1", "three", 'four; extra == "x"', 'five; python_version < "3"']
    assert unsupported(needed, version_of) == ["two 1.0 (>=1.1 is needed)", "no three ( is needed)"]
    assert unsupported(["one>=2,<3"], version_of) == []


def test_this_installation_is_in_order():
    (found,) = check_installation()
    assert found.severity == "ok"
    assert "archetype-log" in found.seen


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"),
        (1023, "1,023 bytes"),
        (1024, "1.0 KiB"),
        (3 << 29, "1.5 GiB"),
        (1 << 52, "4,096.0 TiB"),
    ],
)
def test_sizes_are_spelled_for_people(size_bytes, text):
    assert readable_size(size_bytes) == text
