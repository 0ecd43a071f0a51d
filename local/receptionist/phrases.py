"""Sentences that several steps say."""

from local.receptionist.talk import Ask, Reply, Talk

HELP = "How can I help you?"
GOODBYE = "Thank you for calling. Goodbye."
ANYTHING_ELSE = "Is there anything else I can do for you?"
WHICH_SERVICE = "What would you like to have done?"


def unable(talk: Talk, what: str = "I couldn't look that up just now.") -> Reply:
    """Something failed that is not the caller's doing: offers a person."""
    if not talk.can_transfer:
        desk = "A person at our service desk can help you with that."
        return talk.ask(Ask.ELSE, ANYTHING_ELSE).after(f"I'm sorry, {what} {desk}")
    return talk.ask(Ask.PERSON, "Would you like to speak with a person?").after(f"I'm sorry, {what}")
