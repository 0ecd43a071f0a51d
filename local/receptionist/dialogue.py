"""The receptionist's mind: a chat request in, what it says and does out. Pure; nothing is kept.

The conversation is played through from its first message: each utterance and each tool result changes where
the talk stands, and what would be said there is worked out, because it decides what the next "yes" or "the
first one" means. The last of these replies is the answer.
"""

import dataclasses
import datetime as dt
import json
import re
from collections.abc import Collection
from typing import Any

from local.receptionist.answering import aside, customer_told, hear_step
from local.receptionist.booking import book_step, slots_told
from local.receptionist.changing import change_step, change_told, upcoming_told
from local.receptionist.continuing import split_go_on, text_of, unsaid
from local.receptionist.facts import Facts, read_prompt
from local.receptionist.heard import Heard, understand
from local.receptionist.listening import listen
from local.receptionist.phrases import ANYTHING_ELSE, GOODBYE, HELP, unable
from local.receptionist.proving import proof_step
from local.receptionist.results import CHANGES, learn
from local.receptionist.talk import Ask, Goal, Reply, Talk
from local.receptionist.vins import vin_told
from local.receptionist.wants import Want

_INSTRUCTIONS = ("system", "developer")


def answer(messages: list[dict[str, Any]], tools: list[dict[str, Any]], now: dt.date) -> Reply:
    """What to say and call next. `messages` and `tools` are as chat completions take them.

    `now` is the day where the system prompt names none.
    """
    messages, said = split_go_on(messages)
    reply = _played_through(messages, {tool["function"]["name"]: tool["function"] for tool in tools}, now)
    if said is None:
        return reply
    rest = unsaid(said, reply.text)
    if rest is None:  # not our words: say the question again
        rest = re.split(r"(?<=[.!?])\s+", reply.text)[-1]
    return Reply(rest, reply.tool, reply.arguments)


def _played_through(messages: list[dict[str, Any]], tools: dict[str, Any], now: dt.date) -> Reply:
    facts = read_prompt("\n".join(text_of(m) for m in messages if m["role"] in _INSTRUCTIONS), now)
    conversation = [message for message in messages if message["role"] not in _INSTRUCTIONS]
    talk, heard_of_us = Talk(can_transfer=any("transfer" in name for name in tools)), ""
    untold = ""  # what became of a change, where the caller spoke before it was said
    unsaid_question = Ask.NOTHING
    calls: dict[str, Any] = {}
    talk.asked = Ask.WHO if facts.shared else Ask.NOTHING
    reply = _greeting(facts)
    for index, message in enumerate(conversation):
        role = message["role"]
        following = conversation[index + 1]["role"] if index + 1 < len(conversation) else ""
        if role == "assistant":
            heard_of_us += text_of(message)
            untold = "" if text_of(message) else untold
            calls |= {call["id"]: call["function"] for call in message.get("tool_calls") or ()}
            continue
        if role == "user":
            unsaid_question = talk.asked
            if talk.asked in (Ask.CONFIRM, Ask.AGAIN) and "?" not in heard_of_us:
                talk.asked = Ask.CUT
            going_on = index and conversation[index - 1]["role"] == "user"
            before = talk.heard if going_on or _ending_already(talk) else None
            listen(talk, _in_parts(before, _understood(text_of(message), talk, facts)), facts)
        elif message.get("tool_call_id") in calls:
            call = calls[message["tool_call_id"]]
            learn(talk, call["name"], call["arguments"], text_of(message))
        if following == role:
            continue
        if role == "user" and untold and talk.heard and not talk.heard.says_something:
            talk.asked, reply = unsaid_question, Reply(f"{untold} {talk.question}")
        else:
            changed = role == "tool" and talk.fresh is not None and talk.fresh.tool in CHANGES
            reply = _next(talk, facts, tools).after(untold)
            untold = reply.text.removesuffix(talk.question).strip() if changed and not reply.tool else ""
        talk.said, heard_of_us = reply.text, ""
    silent = messages[-1]["role"] in _INSTRUCTIONS and "silen" in text_of(messages[-1]).lower()
    return Reply(f"Are you still there? {talk.question}".strip()) if silent and conversation else reply


def _ending_already(talk: Talk) -> bool:
    """Whether the goodbye was about to be said."""
    return talk.fresh is not None and talk.fresh.tool == "end_call"


def _in_parts(before: Heard | None, heard: Heard) -> Heard:
    """A goodbye that recognition cut in two ("Nothing else." "Thank you.") is still one."""
    if before is None or heard.says_something:
        return heard
    return dataclasses.replace(heard, wants=heard.wants | (before.wants & {Want.DONE, Want.BYE}))


def _greeting(facts: Facts) -> Reply:
    return Reply(f"Hello, this is {facts.dealership}. {HELP}" if facts.dealership else f"Hello. {HELP}")


def _understood(text: str, talk: Talk, facts: Facts) -> Heard:
    services = [service.name for service in facts.services]
    heard = understand(
        text,
        services,
        facts.today,
        time_asked=talk.asked is Ask.TIME,
        name_asked=talk.asked is Ask.NAME,
        vin_asked=talk.asked is Ask.VIN,
        more_asked=talk.asked is Ask.VIN and bool(talk.vin_said),
        proof_asked=talk.asked is Ask.PROOF,
    )
    if talk.asked is Ask.WHO and not heard.says_something:  # else it is no answer to our greeting
        return understand(text, services, facts.today, name_asked=True)
    return heard


def _next(talk: Talk, facts: Facts, tools: dict[str, Any]) -> Reply:
    """What is said now: about a fresh result, else about what was heard."""
    asked, talk.asked = talk.asked, Ask.NOTHING
    if talk.fresh:
        result = _told(talk, facts, tools)
        return result if isinstance(result, Reply) else _onward(talk, facts, tools).after(result)
    talk.failures = 0 if talk.understood else talk.failures + 1
    if not talk.understood:
        return _not_understood(talk, facts, tools, asked)
    ending = _ending(talk, facts, tools, asked)
    if ending:
        return ending
    told = aside(talk, facts, tools, asked)
    if isinstance(told, Reply):
        if talk.asked is Ask.NOTHING and not told.tool:
            talk.asked = asked
        return told
    free = talk.goal is Goal.NONE and not talk.hearing
    if told is None and free and asked is Ask.WHO and talk.claim:
        return proof_step(talk, facts, tools)
    if told is None and free:
        told = _small_talk(talk, asked)
    if free and _open(talk, asked):
        return talk.ask(Ask.ELSE, HELP).after(told or "")
    return _onward(talk, facts, tools).after(told or "")


def _told(talk: Talk, facts: Facts, tools: Collection[str]) -> Reply | str:
    """Speaks of a tool's result."""
    tool = talk.fresh.tool if talk.fresh else ""
    if tool == "get_available_slots":
        return slots_told(talk, facts, tools)
    if tool in CHANGES:
        return change_told(talk, facts, tools, tool)
    if tool == "get_upcoming_appointments":
        return upcoming_told(talk, facts, tools)
    if tool == "lookup_customer":
        return customer_told(talk, facts, tools)
    if tool == "decode_vin":
        return vin_told(talk)
    return Reply("")  # the call is ending, or is put through: nothing is left to say


def _onward(talk: Talk, facts: Facts, tools: Collection[str]) -> Reply:
    """The next step towards the caller's goal."""
    if talk.goal is Goal.BOOK:
        return book_step(talk, facts, tools)
    if talk.goal in (Goal.MOVE, Goal.CANCEL):
        return change_step(talk, facts, tools)
    if talk.hearing:
        return hear_step(talk, facts, tools)
    return talk.ask(Ask.ELSE, ANYTHING_ELSE)


def _open(talk: Talk, asked: Ask) -> bool:
    """Whether the caller has not said yet what they want."""
    wants = talk.heard.wants if talk.heard else frozenset()
    return asked in (Ask.NOTHING, Ask.WHO) or Want.HELLO in wants or (asked is Ask.ELSE and Want.YES in wants)


def _small_talk(talk: Talk, asked: Ask) -> str:
    """Words before "anything else?" where the caller wants nothing in particular yet."""
    wants = talk.heard.wants if talk.heard else frozenset()
    if talk.dropped:
        return "All right, I've left it."
    if Want.HELLO in wants:
        return "Hello."
    return "All right." if asked in (Ask.BOOKING, Ask.PERSON, Ask.CONFIRM) else ""


def _ending(talk: Talk, facts: Facts, tools: dict[str, Any], asked: Ask) -> Reply | None:
    """Goodbye, or putting the caller through."""
    heard = talk.heard
    if heard is None:
        return None
    news = bool(heard.services or heard.days or heard.clock or heard.could_be)
    no = Want.NO in heard.wants and Want.YES not in heard.wants and asked in (Ask.ELSE, Ask.BOOKING)
    done = Want.DONE in heard.wants or (no and not heard.says_something and asked is Ask.ELSE)
    if Want.BYE in heard.wants or (done and not news and not talk.dropped):
        return Reply(GOODBYE, "end_call" if "end_call" in tools else "")
    person = Want.PERSON in heard.wants and Want.WHO not in heard.wants
    if person or (asked is Ask.PERSON and Want.YES in heard.wants and not news):
        return _put_through(talk, facts, tools)
    return None


def _put_through(talk: Talk, facts: Facts, tools: dict[str, Any]) -> Reply:
    for name, function in tools.items():
        if "transfer" in name:
            properties = function.get("parameters", {}).get("properties", {})
            arguments = {key: _filler(schema) for key, schema in properties.items()}
            return Reply("I'll put you through to a person. One moment.", name, arguments)
    return _onward(talk, facts, tools).after("I'm sorry, I can't put you through from here.")


def _filler(schema: dict[str, Any]) -> str | None:
    """A transfer's argument: nothing where that is allowed, else the reason."""
    return None if "null" in json.dumps(schema.get("type", "")) else "The caller asked for a person."


def _not_understood(talk: Talk, facts: Facts, tools: Collection[str], asked: Ask) -> Reply:
    """Asks again once; then offers a person; then says what there is to say."""
    if talk.failures == 2:
        return unable(talk, "I still didn't get that.")
    if talk.failures > 2:
        talk.asked = Ask.ELSE
        return Reply("I can book, move or cancel an appointment, or tell you a price. Which would you like?")
    again = "Sorry, I didn't get that."
    if asked in (Ask.NOTHING, Ask.ELSE, Ask.PERSON) and talk.goal is Goal.NONE:
        talk.asked = Ask.ELSE
        return Reply(f"{again} Would you like to book, move or cancel an appointment?")
    talk.asked = asked
    return Reply(f"{again} {talk.question}")
