"""How we say it: dates, times, prices and cars as words that any voice reads out right. No digit is ever left.

Twins of `crm.dates` and `crm.times`, which understand what is said here as what it was made from.
"""

import datetime as dt
import itertools
import re
import unicodedata
from collections.abc import Sequence

_UNIT_NAMES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TEN_NAMES = "twenty thirty forty fifty sixty seventy eighty ninety"
_BELOW_TWENTY = tuple(_UNIT_NAMES.split())
_TENS = tuple(_TEN_NAMES.split())
_IRREGULAR = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip
_THOUSANDS = ((10**9, "billion"), (10**6, "million"), (1000, "thousand"))
_COMING_DAYS = 7  # within these a weekday and its number are enough


def number(n: int) -> str:
    """ "two hundred seven", as Americans say it. Below a trillion."""
    if n < 0:
        return f"minus {number(-n)}"
    for size, name in _THOUSANDS:
        if n >= size:
            rest = n % size
            return f"{number(n // size)} {name}" + (f" {number(rest)}" if rest else "")
    if n >= 100:
        return f"{_BELOW_TWENTY[n // 100]} hundred" + (f" {number(n % 100)}" if n % 100 else "")
    if n < 20:
        return _BELOW_TWENTY[n]
    return _TENS[n // 10 - 2] + (f"-{_BELOW_TWENTY[n % 10]}" if n % 10 else "")


def ordinal(n: int) -> str:
    """ "twenty-first"."""
    text = number(n)
    cut = max(text.rfind(" "), text.rfind("-")) + 1
    last = text[cut:]
    if last in _IRREGULAR:
        return text[:cut] + _IRREGULAR[last]
    return text[:cut] + (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")


def year(n: int) -> str:
    """ "twenty twenty-seven", "two thousand five", "nineteen oh five"."""
    century, rest = divmod(n, 100)
    if not 10 <= century <= 99 or (century % 10 == 0 and rest < 10):
        return number(n)
    if rest == 0:
        return f"{number(century)} hundred"
    return f"{number(century)} {'oh ' if rest < 10 else ''}{number(rest)}"


def listing(items: Sequence[str], word: str = "and") -> str:
    """ "a", "a and b", "a, b, and c"."""
    if len(items) < 3:
        return f" {word} ".join(items)
    return f"{', '.join(items[:-1])}, {word} {items[-1]}"


def day(date: dt.date, today: dt.date) -> str:
    """ "Tuesday the third" for the coming days, else "Tuesday, March third", and the year when it is another."""
    if 0 <= (date - today).days < _COMING_DAYS:
        return f"{date:%A} the {ordinal(date.day)}"
    text = f"{date:%A}, {date:%B} {ordinal(date.day)}"
    return text if date.year == today.year else f"{text}, {year(date.year)}"


def clock(time: dt.time) -> str:
    """ "nine thirty", "noon", "two in the afternoon". From eight until noon the hour is enough."""
    part = _part(time)
    return f"{_hour(time)} {part}" if part else _hour(time)


def clocks(times: Sequence[dt.time], word: str = "or") -> str:
    """ "nine, nine thirty, or two in the afternoon": the part of the day is said once for those that share it."""
    said: list[str] = []
    for part, together in itertools.groupby(times, _part):
        hours = [_hour(time) for time in together]
        said += [*hours[:-1], f"{hours[-1]} {part}" if part else hours[-1]]
    return listing(said, word)


def slot(start: dt.datetime, today: dt.date) -> str:
    """ "Tuesday the third at nine thirty". `start` is on the dealership's clock."""
    return f"{day(start.date(), today)} at {clock(start.time())}"


def slots(starts: Sequence[dt.datetime], today: dt.date) -> str:
    """ "Tuesday the third at nine or nine thirty, or Wednesday the fourth at two in the afternoon"."""
    days = itertools.groupby(starts, lambda start: start.date())
    return ", or ".join(
        f"{day(date, today)} at {clocks([start.time() for start in together])}" for date, together in days
    )


def price(cents: int) -> str:
    """ "fifty-nine dollars and fifty cents"."""
    dollars, rest = divmod(cents, 100)
    parts = [_counted(dollars, "dollar")] if dollars else []
    parts += [_counted(rest, "cent")] if rest else []
    return " and ".join(parts) or "no charge"


def price_range(low: int, high: int) -> str:
    """ "between sixty and eighty dollars", of cents."""
    if low == high:
        return price(low)
    if low == 0:
        return f"up to {price(high)}"
    if low % 100 or high % 100 or low == 100:
        return f"between {price(low)} and {price(high)}"
    return f"between {number(low // 100)} and {price(high)}"


def duration(minutes: int) -> str:
    """ "half an hour", "an hour and a half", "two hours and fifteen minutes"."""
    hours, rest = divmod(minutes, 60)
    if hours == 0:
        return "half an hour" if rest == 30 else _counted(rest, "minute")
    if rest == 30:
        return "an hour and a half" if hours == 1 else f"{number(hours)} and a half hours"
    whole = "an hour" if hours == 1 else f"{number(hours)} hours"
    return f"{whole} and {_counted(rest, 'minute')}" if rest else whole


def digits(text: str) -> str:
    """Each digit by its name, nothing else: "five five five"."""
    return " ".join(_BELOW_TWENTY[int(digit)] for digit in text if digit.isdecimal())


def phone(e164: str) -> str:
    """ "three one two, five five five, zero one four two" for +13125550142; of other countries in threes."""
    only = "".join(digit for digit in e164 if digit.isdecimal())
    if len(only) == 11 and only.startswith("1"):
        groups = [only[1:4], only[4:7], only[7:]]
    else:
        groups = [only[at : at + 3] for at in range(0, len(only), 3)]
    return ", ".join(digits(group) for group in groups)


def car(text: str) -> str:
    """ "2022 Honda Civic" is "twenty twenty-two Honda Civic", "Ford F-150" is "Ford F one fifty"."""
    plain = unicodedata.normalize("NFKC", text)
    spaced = re.sub(r"-?(\d+)-?", lambda run: f" {_model_number(run[1])} ", plain)
    return " ".join("".join(letter for letter in spaced if not letter.isdigit()).split())


def _counted(n: int, name: str) -> str:
    return f"{number(n)} {name}" if n == 1 else f"{number(n)} {name}s"


def _hour(time: dt.time) -> str:
    if (time.hour % 12, time.minute) == (0, 0):
        return "noon" if time.hour else "midnight"
    hour = number(time.hour % 12 or 12)
    if time.minute == 0:
        return hour
    return f"{hour} {'oh ' if time.minute < 10 else ''}{number(time.minute)}"


def _part(time: dt.time) -> str:
    if (time.hour % 12, time.minute) == (0, 0) or 8 <= time.hour < 12:
        return ""
    if time.hour < 8:
        return "in the morning"
    if time.hour < 18:
        return "in the afternoon"
    return "in the evening" if time.hour < 21 else "at night"


def _model_number(run: str) -> str:
    """A number of a car's name, as people say it: 1500 "fifteen hundred", 328 "three twenty-eight"."""
    if len(run) > 4 or run.startswith("0"):
        return digits(run)
    n = int(run)
    if len(run) == 4:
        return year(n)
    if len(run) == 3 and n % 100:
        return f"{number(n // 100)} {'oh ' if n % 100 < 10 else ''}{number(n % 100)}"
    return number(n)
