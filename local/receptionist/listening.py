"""What an utterance changes in a conversation: an answer to what was asked, a new goal, new details."""

from local.receptionist.facts import Facts
from local.receptionist.heard import Heard
from local.receptionist.talk import Ask, Claim, Goal, Talk
from local.receptionist.times import DAY_END, Window
from local.receptionist.vins import take_vin
from local.receptionist.wants import Want

# Questions about something else: a service or day in them is no wish to book.
_ASIDE = frozenset(
    {Want.PRICE, Want.LENGTH, Want.FIND, Want.RECORD, Want.HOURS, Want.ADDRESS, Want.SERVICES, Want.WHO}
)
_YES_NO = frozenset(
    {Ask.CONFIRM, Ask.CUT, Ask.AGAIN, Ask.PROOF, Ask.VIN_RIGHT, Ask.BOOKING, Ask.PERSON, Ask.ELSE}
)
_WHO = frozenset({Ask.NAME, Ask.WHO, Ask.PROOF})


def listen(talk: Talk, heard: Heard, facts: Facts) -> None:
    """Takes in one utterance."""
    talk.heard, talk.fresh, talk.dropped = heard, None, False
    answered = talk.asked in _YES_NO and bool(heard.wants & {Want.YES, Want.NO})
    if talk.asked is Ask.TIME:  # to "which would you like?" a yes is no answer, unless there is but one
        answered = Want.NO in heard.wants or (Want.YES in heard.wants and len(talk.offered) == 1)
    polite = bool(heard.wants & {Want.HELLO, Want.THANKS})
    talk.understood = heard.says_something or answered or polite
    _answer(talk, heard)
    _choose_goal(talk, heard)
    if talk.goal in (Goal.MOVE, Goal.CANCEL):
        _take_appointment(talk, heard)
    elif talk.goal is Goal.BOOK or talk.asked is Ask.PRICED or heard.wants & _ASIDE:
        _take_service(talk, heard)
    _take_time(talk, heard)
    _take_claim(talk, heard)
    if heard.make:
        owned = [car for car in facts.cars if heard.make in car.lower()]
        talk.vehicle = owned[0] if owned else heard.make.title()
    if heard.vin_said:
        take_vin(talk, heard.vin_said, heard.vin)


def _take_claim(talk: Talk, heard: Heard) -> None:
    """What the caller says of themselves. One word that nobody asked for is hardly a name."""
    talk.name = heard.name or talk.name
    if heard.car or (heard.name and (talk.asked in _WHO or " " in heard.name)):
        talk.claim = Claim(heard.name, heard.car)


def _news(heard: Heard) -> bool:
    return bool(heard.services or heard.days or heard.clock or heard.window or heard.could_be)


def _answer(talk: Talk, heard: Heard) -> None:
    """An answer to the question that was asked."""
    yes, no = Want.YES in heard.wants, Want.NO in heard.wants
    if talk.asked is Ask.CONFIRM:
        talk.confirmed = yes and not no
        if no and not _news(heard):
            _forget_doubtful(talk)
    elif talk.asked is Ask.TIME:
        _answer_time(talk, heard)
    elif talk.asked is Ask.WHICH and heard.pick is not None and -1 <= heard.pick < len(talk.choices):
        talk.chosen = talk.choices[heard.pick]
    elif talk.asked is Ask.AGAIN and yes and not no:
        talk.confirmed = True
    elif talk.asked is Ask.AGAIN and no and not _news(heard):
        talk.finish()
        talk.dropped = True
    elif talk.asked is Ask.PROOF and no and not (heard.name or heard.car):
        talk.unwilling = True
    elif talk.asked is Ask.BOOKING and yes and not no:
        talk.begin(Goal.BOOK)
    elif talk.asked is Ask.BOOKING and no and not _news(heard):
        talk.finish()
    elif talk.asked is Ask.DAY and heard.wants & {Want.ANY, Want.TIMES}:
        talk.soonest = True


def _forget_doubtful(talk: Talk) -> None:
    """The caller said no: to what was guessed, first of all."""
    if talk.goal is Goal.CANCEL:
        talk.finish()
        talk.dropped = True
    elif not talk.service_sure:
        talk.service, talk.service_sure = "", True
    elif not talk.date_sure:
        talk.date, talk.date_sure = None, True
    else:
        talk.minutes, talk.minutes_sure = None, True


def _answer_time(talk: Talk, heard: Heard) -> None:
    """A choice among the times that were offered, or a wish for others."""
    wants, offered = heard.wants, talk.offered
    if not offered or heard.clock:
        return
    if heard.pick is not None and -1 <= heard.pick < len(offered):
        talk.minutes, talk.minutes_sure = offered[heard.pick], True
    elif Want.LATER in wants:
        talk.window = Window(max(offered) + 1, DAY_END)
    elif Want.EARLIER in wants:
        talk.window = Window(0, min(offered))
    elif Want.SOONEST in wants or Want.ANY in wants or (Want.YES in wants and len(offered) == 1):
        talk.minutes, talk.minutes_sure = min(offered), True
    elif Want.NO in wants or Want.TIMES in wants:
        talk.skipped.update(offered)


def _choose_goal(talk: Talk, heard: Heard) -> None:
    wants = heard.wants
    booking = talk.goal is Goal.BOOK
    appointment = Want.BOOK in wants
    if Want.CANCEL in wants and booking and not appointment:
        talk.finish()
        talk.dropped = True
    elif Want.CANCEL in wants:
        talk.begin(Goal.CANCEL)
        _point(talk, heard)
    elif Want.NEW in wants and not wants & {Want.FIND, Want.MOVE}:
        talk.begin(Goal.BOOK)
    elif wants & {Want.MOVE, Want.MISS} and (not booking or appointment):
        talk.begin(Goal.MOVE)
        _point(talk, heard)
    elif Want.ALTER in wants and talk.goal is Goal.NONE and talk.last and (heard.days or heard.clock):
        talk.begin(Goal.MOVE)
        talk.chosen = talk.last
    elif talk.goal is Goal.NONE and _wants_booking(heard, talk):
        talk.begin(Goal.BOOK)


def _point(talk: Talk, heard: Heard) -> None:
    """ "Move it": what was last booked or moved in this call, unless something else is named."""
    pointed = Want.IT in heard.wants and not heard.services and not talk.chosen
    if pointed and talk.last and heard.old_day in (None, talk.last.date):
        talk.chosen = talk.last


def _wants_booking(heard: Heard, talk: Talk) -> bool:
    if Want.FIND in heard.wants or talk.asked is Ask.PRICED:
        return False
    if heard.wants & {Want.TIMES, Want.SOONEST}:
        return True
    if heard.wants & _ASIDE:
        return False
    return Want.BOOK in heard.wants or _news(heard) or (talk.asked is Ask.BOOKING and heard.pick is not None)


def _take_service(talk: Talk, heard: Heard) -> None:
    talk.could_be = heard.could_be
    if not heard.services:
        return
    first = heard.services[0]
    if first.name == talk.service:
        talk.service_sure = True  # heard twice
    elif first.sure or not talk.service or not talk.service_sure or talk.asked is Ask.SERVICE:
        talk.service, talk.service_sure = first.name, first.sure
    talk.also += [m.name for m in heard.services[1:] if m.sure and m.name not in (*talk.also, talk.service)]


def _take_appointment(talk: Talk, heard: Heard) -> None:
    """Which appointment is meant."""
    if heard.services:
        talk.about_service = heard.services[0].name
    days = [day.date for day in heard.days]
    if heard.old_day:
        talk.about_date = heard.old_day
    elif (days and (talk.goal is Goal.CANCEL or talk.asked is Ask.WHICH or Want.MISS in heard.wants)) or len(
        days
    ) > 1:
        talk.about_date = days[0]


def _take_time(talk: Talk, heard: Heard) -> None:
    """The day and time that are wanted."""
    if talk.goal is Goal.CANCEL or (talk.goal is Goal.MOVE and talk.asked is Ask.WHICH):
        return
    if talk.goal is Goal.NONE and heard.wants & _ASIDE:
        return
    picked = heard.pick is not None and talk.asked in (Ask.TIME, Ask.WHICH)
    days = [day for day in heard.days if not (day.bare and picked)]
    if talk.goal is Goal.MOVE and days and (days[-1].date == talk.about_date):
        days = []
    if days:
        # Of two days that were named, the last is likelier: worth asking.
        talk.date, talk.date_sure = days[-1].date, days[-1].sure and (len(days) == 1 or bool(talk.about_date))
    elif heard.old_day and talk.goal is Goal.BOOK:
        talk.date, talk.date_sure = heard.old_day, True
    if days or (heard.window and Want.LATER not in heard.wants):
        talk.skipped, talk.offered = set(), talk.offered if not days else []
        if heard.window and not heard.clock:
            talk.minutes = None
    if days or heard.clock or heard.services:
        talk.confirmed = talk.confirmed and Want.YES in heard.wants
    if heard.clock:
        talk.minutes = heard.clock.minutes
        talk.minutes_sure = heard.clock.sure or heard.clock.minutes in talk.offered
    talk.window = heard.window or talk.window
    talk.soonest = talk.soonest or Want.SOONEST in heard.wants
