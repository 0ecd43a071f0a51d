"""The steps by which a caller shows who they are, where the number alone does not tell.

Whether a caller has shown it is for the tool to say. Here is only known when to ask, and when to stop asking.
"""

from collections.abc import Collection

from local.receptionist.facts import Facts
from local.receptionist.phrases import unable
from local.receptionist.talk import Ask, Reply, Talk

MOST_TRIES = 2  # then something else is offered
_WHO = "Who am I speaking with? Please tell me your full name."
_FACT = "May I have your full name, or the year and model of your car?"


def is_known(talk: Talk, facts: Facts) -> bool:
    """Whether the caller's file may be spoken about."""
    return facts.verified or talk.proved


def proof_step(talk: Talk, facts: Facts, tools: Collection[str]) -> Reply:
    """Asks for a fact about the caller, or tries the one that they told."""
    if "lookup_customer" not in tools:
        return unable(talk, "I can't see the files just now.")
    if talk.claim:
        arguments = {"name": talk.claim.name or None, "car": talk.claim.car or None}
        return Reply("Let me see.", "lookup_customer", arguments)
    if talk.tries >= MOST_TRIES or talk.unwilling:
        return _instead(talk)
    return talk.ask(Ask.PROOF, _WHO if facts.shared and not talk.tries else _FACT)


def proof_failed(talk: Talk, facts: Facts, tools: Collection[str]) -> Reply:
    """What the caller told showed nothing: another try, then something else."""
    return proof_step(talk, facts, tools).after("I'm sorry, that doesn't match what I have.")


def _instead(talk: Talk) -> Reply:
    """What can be done for somebody who can't show who they are."""
    talk.finish()
    why = "Without that I can't look at your appointments or your file."
    if talk.can_transfer:
        return talk.ask(
            Ask.ELSE,
            "I can book something new for you, or put you through to a person. Which would you like?",
        ).after(why)
    desk = "A person at our service desk can help you with that."
    return talk.ask(Ask.BOOKING, "Would you like to book something new?").after(f"{why} {desk}")
