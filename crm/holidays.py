"""Holidays by the names that people use for a day in the United States, as a function of the year."""

import calendar
import datetime as dt
from collections.abc import Callable

_MONDAY, _THURSDAY, _SUNDAY = 0, 3, 6


def _fixed(month: int, day: int) -> Callable[[int], dt.date]:
    return lambda year: dt.date(year, month, day)


def _floating(month: int, weekday: int, nth: int, days_after: int = 0) -> Callable[[int], dt.date]:
    """The nth such weekday of a month (-1: the last)."""

    def in_year(year: int) -> dt.date:
        weeks = calendar.monthcalendar(year, month)
        days = [week[weekday] for week in weeks if week[weekday]]
        return dt.date(year, month, days[nth - 1 if nth > 0 else nth]) + dt.timedelta(days=days_after)

    return in_year


# As `crm.heard.plain` spells them. Source of the rules: 5 U.S.C. 6103; custom for the others.
HOLIDAYS: dict[str, Callable[[int], dt.date]] = {
    "new years day": _fixed(1, 1),
    "new years": _fixed(1, 1),
    "martin luther king day": _floating(1, _MONDAY, 3),
    "mlk day": _floating(1, _MONDAY, 3),
    "valentines day": _fixed(2, 14),
    "presidents day": _floating(2, _MONDAY, 3),
    "st patricks day": _fixed(3, 17),
    "mothers day": _floating(5, _SUNDAY, 2),
    "memorial day": _floating(5, _MONDAY, -1),
    "fathers day": _floating(6, _SUNDAY, 3),
    "juneteenth": _fixed(6, 19),
    "independence day": _fixed(7, 4),
    "labor day": _floating(9, _MONDAY, 1),
    "columbus day": _floating(10, _MONDAY, 2),
    "halloween": _fixed(10, 31),
    "veterans day": _fixed(11, 11),
    "thanksgiving": _floating(11, _THURSDAY, 4),
    "thanksgiving day": _floating(11, _THURSDAY, 4),
    "black friday": _floating(11, _THURSDAY, 4, 1),
    "christmas eve": _fixed(12, 24),
    "christmas": _fixed(12, 25),
    "christmas day": _fixed(12, 25),
    "new years eve": _fixed(12, 31),
}
