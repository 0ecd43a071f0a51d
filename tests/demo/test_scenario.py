"""What a seed asks for, and how the caller puts it."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.demo_data import workshop
from crm.slots import refuse
from demo.scenario import DAYS_AHEAD, Scenario, day_forms, scenario, time_forms
from local.receptionist.dates import find_days
from local.receptionist.heard import Heard, understand
from local.receptionist.wants import Want
from local.receptionist.words import words_of

CHICAGO = ZoneInfo("America/Chicago")
TUESDAY = dt.datetime(2026, 11, 24, 15, 0, tzinfo=CHICAGO)
SHOP = workshop()
_NAMES = [service.name for service in SHOP.services]

moments = st.integers(1_700_000_000, 2_100_000_000).map(lambda at: dt.datetime.fromtimestamp(at, dt.UTC))
seeds = st.integers()


def _understood(text: str, now: dt.datetime) -> Heard:
    return understand(text, _NAMES, now.astimezone(CHICAGO).date(), time_asked=True)


@given(seeds, moments)
def test_every_seed_asks_for_an_open_slot_at_least_a_day_and_at_most_two_weeks_ahead(
    seed: int, now: dt.datetime
) -> None:
    wish = scenario(seed, now, CHICAGO)
    service = next(one for one in SHOP.services if one.name == wish.service)
    assert refuse(SHOP, service, wish.starts_at, (), now) is None
    assert 1 <= (wish.starts_at.date() - now.astimezone(CHICAGO).date()).days <= DAYS_AHEAD


@given(seeds, moments)
def test_every_wording_means_the_wish_to_whoever_hears_it_right(seed: int, now: dt.datetime) -> None:
    wish = scenario(seed, now, CHICAGO)
    minutes = wish.starts_at.hour * 60 + wish.starts_at.minute
    for text in (wish.ask, *wish.restate):
        heard = _understood(text, now)
        assert [match.name for match in heard.services] == [wish.service], text
        assert [day.date for day in heard.days] == [wish.starts_at.date()], text
    for text in (wish.choose, *wish.restate):
        heard = _understood(text, now)
        assert heard.clock is not None, text
        assert (heard.clock.minutes, heard.clock.sure) == (minutes, True), text


@given(seeds, moments)
def test_every_booking_is_moved_to_another_open_time_of_the_same_two_weeks(
    seed: int, now: dt.datetime
) -> None:
    wish = scenario(seed, now, CHICAGO)
    service = next(one for one in SHOP.services if one.name == wish.service)
    assert refuse(SHOP, service, wish.moves_to, (), now) is None
    assert wish.moves_to != wish.starts_at
    assert 1 <= (wish.moves_to.date() - now.astimezone(CHICAGO).date()).days <= DAYS_AHEAD


@given(seeds, moments)
def test_every_wording_of_a_move_or_a_cancellation_means_what_was_just_booked(
    seed: int, now: dt.datetime
) -> None:
    wish = scenario(seed, now, CHICAGO)
    minutes = wish.moves_to.hour * 60 + wish.moves_to.minute
    for text in (wish.move, *wish.move_again):
        heard = _understood(text, now)
        assert Want.MOVE in heard.wants, text
        assert heard.clock is not None, text
        assert (heard.clock.minutes, heard.clock.sure) == (minutes, True), text
        named = [day.date for day in heard.days]
        assert named == [wish.moves_to.date()] or (named == [] and wish.new_day not in text), text
    for text in (wish.cancel, *wish.cancel_again):
        heard = _understood(text, now)
        assert Want.CANCEL in heard.wants, text
        assert (heard.days, heard.clock, heard.services) == ((), None, ()), text
    for text in (wish.move, wish.cancel):
        assert Want.IT in _understood(text, now).wants, text


@given(seeds, moments)
def test_a_seed_repeats_its_call(seed: int, now: dt.datetime) -> None:
    assert scenario(seed, now, CHICAGO) == scenario(seed, now, CHICAGO)


def test_seeds_ask_for_all_services_on_many_days_in_many_words() -> None:
    wishes = [scenario(seed, TUESDAY, CHICAGO) for seed in range(200)]
    assert {wish.service for wish in wishes} == set(_NAMES)
    assert len({wish.starts_at for wish in wishes}) > 80
    assert len({_shape(wish) for wish in wishes}) > 80
    moved_within = sum(wish.moves_to.date() == wish.starts_at.date() for wish in wishes)
    assert 60 < moved_within < 140


def _shape(wish: Scenario) -> tuple[str, ...]:
    texts = (wish.ask, wish.choose, wish.restate[0], wish.bye)
    for word in (wish.service, wish.day, wish.time):
        texts = tuple(text.replace(word, "...") for text in texts)
    return texts


@pytest.mark.parametrize("ahead", range(1, DAYS_AHEAD + 1))
@pytest.mark.parametrize("clock", [dt.time(0, 1), dt.time(12), dt.time(23, 59)])
def test_a_day_is_named_so_that_it_means_the_same_when_midnight_passes_meanwhile(
    ahead: int, clock: dt.time
) -> None:
    now = dt.datetime.combine(TUESDAY.date(), clock, CHICAGO)
    day = now.date() + dt.timedelta(days=ahead)
    later = (now + dt.timedelta(minutes=10)).date()
    for form in day_forms(day, now):
        for today in (now.date(), later):
            if later == now.date() or ahead > 1:
                assert [(found.date, found.sure) for found in find_days(words_of(form), today)] == [
                    (day, True)
                ]


def test_whole_hours_are_named_with_their_half_of_the_day() -> None:
    at = TUESDAY.replace(hour=13)
    assert time_forms(at) == ["one p.m."]
    assert time_forms(at.replace(minute=30)) == ["one thirty", "one thirty in the afternoon"]
