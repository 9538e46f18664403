"""The checker of histories finds what it is there to find."""

import uuid

import pytest

from survival.history import Append, Reading, check_history

WORLD = uuid.UUID(int=1)
IDS = [uuid.UUID(int=number) for number in range(10, 14)]
APPENDS = [Append(WORLD, each, 10 * n, 10 * n + 15, n + 1) for n, each in enumerate(IDS)]
SENT_AT = {append.id: append.sent_at for append in APPENDS}


def judge(*, appends=APPENDS, readings=(), final=IDS):
    check_history(appends, readings, {WORLD: list(final)}, SENT_AT)


def test_one_list_passes():
    judge(
        readings=[
            Reading(WORLD, (), 1, 2),
            Reading(WORLD, tuple(IDS[:2]), 26, 40),
            Reading(WORLD, tuple(IDS), 50, 60),
        ]
    )


@pytest.mark.parametrize(
    "reading",
    [
        pytest.param(Reading(WORLD, (IDS[1], IDS[0]), 30, 60), id="another order"),
        pytest.param(Reading(WORLD, (IDS[0], IDS[2]), 26, 60), id="a hole"),
        pytest.param(Reading(WORLD, (IDS[0],), 26, 60), id="stale"),
        pytest.param(Reading(WORLD, tuple(IDS), 5, 29), id="from the future"),
    ],
)
def test_a_reading_that_is_none_is_found(reading):
    with pytest.raises(AssertionError):
        judge(readings=[reading])


def test_what_stands_before_something_answered_earlier_is_found():
    late = Append(WORLD, IDS[3], 30, 45, 0)
    with pytest.raises(AssertionError, match="answered earlier"):
        judge(appends=[*APPENDS[:3], late], final=[IDS[3], *IDS[:3]])


def test_what_was_acknowledged_and_is_lost_is_found():
    with pytest.raises(AssertionError):
        judge(final=IDS[:3])
