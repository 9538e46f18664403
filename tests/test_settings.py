"""The environment, and the secrets that stand in files beside it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from archetype.errors import InvalidInputError
from archetype.settings import DEFAULT_DATABASE_URL, Settings

URL = "postgresql://me@db.internal:5433/worlds"


def read(**variables):
    return Settings.from_environment({f"ARCHETYPE_{name}": value for name, value in variables.items()})


def test_an_empty_environment_has_defaults():
    assert read() == Settings()
    assert read(DATABASE_URL="", MODULES=" , ", LOG_FORMAT="") == Settings()


@given(st.text(min_size=1).filter(lambda text: text.strip() == text and "\x00" not in text))
def test_any_password_arrives_as_it_is(password):
    try:
        password.encode()
    except UnicodeEncodeError:
        return
    parsed = make_url(read(DATABASE_URL=URL, DATABASE_PASSWORD=password).database_url)
    assert parsed.password == password
    assert (parsed.username, parsed.host, parsed.port, parsed.database) == (
        "me",
        "db.internal",
        5433,
        "worlds",
    )


def test_secrets_are_read_from_files_without_their_last_line_end(tmp_path):
    (tmp_path / "password").write_text("p@ss:/word\n")
    (tmp_path / "key").write_text("arct_1_x\n")
    settings = read(
        DATABASE_URL=URL,
        DATABASE_PASSWORD_FILE=str(tmp_path / "password"),
        API_KEY_FILE=str(tmp_path / "key"),
    )
    assert make_url(settings.database_url).password == "p@ss:/word"
    assert settings.api_key == "arct_1_x"
    assert "word" not in repr(settings)
    assert "arct" not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        DEFAULT_DATABASE_URL,
        "postgresql://me:mine@db/worlds",
        "postgresql:///worlds",
        "postgresql://db/worlds",
    ],
    ids=["sqlite", "has-one", "no-host", "no-user"],
)
def test_a_url_without_a_place_for_a_password_stays_as_it_is(url):
    assert read(DATABASE_URL=url, DATABASE_PASSWORD="other").database_url == url


def test_the_variable_comes_before_its_file():
    assert read(API_KEY="here", API_KEY_FILE="/nowhere").api_key == "here"


def test_what_cannot_be_read_is_named():
    with pytest.raises(InvalidInputError, match="ARCHETYPE_API_KEY_FILE names /nowhere"):
        read(API_KEY_FILE="/nowhere")
    with pytest.raises(InvalidInputError, match="known are json, text"):
        read(LOG_FORMAT="xml")
    with pytest.raises(InvalidInputError, match="ARCHETYPE_PATCHES must be on or off, not 'maybe'"):
        read(PATCHES="maybe")


def test_patches_are_made_unless_they_are_off():
    made = [read(PATCHES=text).makes_patches for text in ("", "on", " ON ", "off", "OFF")]
    assert made == [True, True, True, False, False]
