"""Answers to questions on the side: prices, hours, cars, VINs, who is speaking."""

from collections.abc import Collection
from typing import Any

from local.receptionist import speech
from local.receptionist.changing import look_up, tell_appointments
from local.receptionist.facts import Facts
from local.receptionist.phrases import ANYTHING_ELSE, HELP, unable
from local.receptionist.proving import is_known, proof_failed, proof_step
from local.receptionist.results import date_of
from local.receptionist.talk import Ask, Goal, Reply, Talk
from local.receptionist.vins import car_of, right_step, vin_step
from local.receptionist.wants import Want

WHO = "I'm an automated receptionist working by rules on this machine."


def aside(talk: Talk, facts: Facts, tools: Collection[str], asked: Ask) -> Reply | str | None:
    """The answer to a question on the side: a whole reply, or words after which the talk goes on."""
    wants = talk.heard.wants if talk.heard else frozenset()
    if Want.WHO in wants:
        return WHO
    if Want.REPEAT in wants and talk.said:
        return Reply(talk.said)
    right = right_step(talk, tools) if asked is Ask.VIN_RIGHT else None
    if right is not None:
        return right
    if Want.VIN in wants:
        return vin_step(talk, tools)
    priced = asked is Ask.PRICED and talk.heard is not None and bool(talk.heard.services)
    if priced or Want.PRICE in wants or Want.LENGTH in wants:
        return _price(talk, facts)
    if Want.RECORD in wants or (Want.FIND in wants and talk.goal is Goal.NONE):
        talk.hearing = Want.RECORD if Want.RECORD in wants else Want.FIND
        return hear_step(talk, facts, tools)
    if Want.SERVICES in wants and facts.services:
        return f"We do {speech.either([_plural(s.name) for s in facts.services], 'and')}."
    if Want.HOURS in wants:
        return f"We're open {speech.spoken(facts.hours)}." if facts.hours else "I don't know our hours."
    if Want.ADDRESS in wants:
        place = facts.lines.get("address") or facts.lines.get("location", "")
        return f"We're at {speech.spoken(place)}." if place else "I don't have our address here."
    return _courtesy(talk)


def _courtesy(talk: Talk) -> Reply | str | None:
    wants = talk.heard.wants if talk.heard else frozenset()
    if Want.WAIT in wants and talk.heard and not (talk.heard.clock or talk.heard.days):
        return Reply("Sure, take your time.")
    if Want.THERE in wants:
        return "Yes, I'm here."
    if Want.THANKS in wants and talk.goal is Goal.NONE and not talk.dropped:
        return "You're welcome."
    return None


def _plural(name: str) -> str:
    return name if name.endswith("s") else f"{name}s"


def _price(talk: Talk, facts: Facts) -> Reply | str:
    if not talk.service:
        choices = speech.either([service.name for service in facts.services])
        question = f"Which service do you mean{f': {choices}' if choices else ''}?"
        return talk.ask(Ask.PRICED, question)
    service = facts.service(talk.service)
    name = speech.one_of(service.name)
    price = speech.spoken(service.price).removesuffix(".")
    takes = f" takes about {speech.number(service.minutes)} minutes" if service.minutes else ""
    if not price and not takes:
        text = f"I don't have the price of {name}."
    elif not price:
        text = f"I don't have a price for {name}, but it{takes}."
    else:
        text = f"{name[:1].upper()}{name[1:]} is {price}{f' and{takes}' if takes else ''}."
    if talk.goal is not Goal.NONE:
        return text
    return talk.ask(Ask.BOOKING, "Would you like to book one?").after(text)


def hear_step(talk: Talk, facts: Facts, tools: Collection[str]) -> Reply:
    """The next step to what the caller wants to hear of their own."""
    if talk.hearing is Want.FIND and talk.appointments is not None:
        talk.hearing = None
        return tell_appointments(talk)
    if talk.hearing is Want.FIND:
        return look_up(talk, facts, tools)
    if not is_known(talk, facts):
        return proof_step(talk, facts, tools)
    if "lookup_customer" not in tools:
        return unable(talk, "I can't see the files just now.")
    return Reply("Let me look.", "lookup_customer", {"name": None, "car": None})


def customer_told(talk: Talk, facts: Facts, tools: Collection[str]) -> Reply | str:
    """Goes on with what a look-up of the caller has shown."""
    result = talk.fresh.result if talk.fresh else {}
    customer = result.get("customer")
    if "error" in result:
        talk.finish()
        return unable(talk)
    if talk.hearing is Want.RECORD and is_known(talk, facts):
        talk.hearing = None
        return _record(talk, customer if isinstance(customer, dict) else {})
    waiting = talk.hearing or talk.goal in (Goal.MOVE, Goal.CANCEL)
    if waiting and not is_known(talk, facts):
        return proof_failed(talk, facts, tools)
    thanks = "Thank you." if talk.goal is not Goal.BOOK or is_known(talk, facts) else ""
    if not waiting and talk.goal is Goal.NONE:
        return talk.ask(Ask.ELSE, HELP).after(thanks)
    return thanks


def _record(talk: Talk, customer: dict[str, Any]) -> Reply:
    """Says what the caller's file holds."""
    if not customer:
        return talk.ask(Ask.ELSE, ANYTHING_ELSE).after("I'm sorry, I don't find a file for you.")
    cars = [_car(car) for car in customer.get("vehicles") or () if isinstance(car, dict)]
    parts = [
        f"I have you as {customer.get('name')}" + (f", with {speech.either(cars, 'and')}." if cars else ".")
    ]
    last = customer.get("last_service")
    if isinstance(last, dict):
        date = date_of(last.get("date"))
        when = speech.past_day(date) if date else "a day I can't read"
        parts.append(f"Your last service was {speech.one_of(str(last.get('service')))} on {when}.")
    return talk.ask(Ask.ELSE, ANYTHING_ELSE).after(" ".join(parts))


def _car(car: dict[str, Any]) -> str:
    """ "a twenty twenty-one Honda Accord", without what is not known."""
    return car_of(" ".join(str(car[key]) for key in ("year", "make", "model") if car.get(key)))
