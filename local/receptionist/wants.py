"""What a caller may want, and the phrases that say so.

Phrases are matched against plain words (`local.receptionist.words`), with the names of services taken out,
so that an "oil change" is not a wish to change anything.
"""

import re
from enum import StrEnum


class Want(StrEnum):
    """What a caller may want of a receptionist."""

    BOOK = "book"
    NEW = "new"  # a booking, whatever was being talked about
    TIMES = "times"
    SOONEST = "soonest"
    MOVE = "move"
    ALTER = "alter"  # "make it ten": what is being talked about, or was booked last
    MISS = "miss"  # "I can't make it": an appointment that is to be moved
    CANCEL = "cancel"
    IT = "it"  # what is to be moved or cancelled is what was just spoken of
    FIND = "find"
    PRICE = "price"
    LENGTH = "length"
    SERVICES = "services"
    HOURS = "hours"
    ADDRESS = "address"
    RECORD = "record"
    VIN = "vin"
    PERSON = "person"
    WHO = "who"
    HELLO = "hello"
    THERE = "there"
    THANKS = "thanks"
    REPEAT = "repeat"
    WAIT = "wait"
    BYE = "bye"
    DONE = "done"
    ANY = "any"
    EARLIER = "earlier"
    LATER = "later"
    YES = "yes"
    NO = "no"


_PHRASES = {
    Want.BOOK: (
        r"book|appointment|schedule|bring .*\bin|come in|come by|sign me up|set up|slot for|"
        r"(need|want) (a )?service|serviced"
    ),
    Want.NEW: r"book (a|an|another|me)|(new|another) appointment|(make|schedule) an? ",
    Want.TIMES: (
        r"what (other )?times?|which times?|what time(s)? (do|have|are)|"
        r"when (can|could) (i|you|we)|availab\w*|openings?|(any|free|open) (times?|slots?)|"
        r"have (anything|something)|what (do )?you have"
    ),
    Want.SOONEST: (r"soonest|earliest|as soon as|next available|first available|any day|whenever|right away"),
    Want.MOVE: (
        r"resch?edule|"
        r"(move|change|push|switch|postpone|shift) .*(appointment|booking|visit|reservation)|"
        r"(move|push|postpone|shift|switch) (my|the|it|that)\b.*|different (day|time)|"
        r"change (my|the)( (day|time|date))?$|change (my|the|it|that).* (to|from)"
    ),
    Want.MISS: r"cant make (it|my|the|that)|cannot make (it|my|the|that)|wont make it",
    Want.ALTER: (r"make (it|that)|change (it|that)|move (it|that)|instead|rather|actually"),
    Want.CANCEL: (r"cancel\w*|call off|call it off|delete|get rid of|dont need (my|the|that) .*"),
    Want.IT: (
        r"(resch?edule|move|change|push|switch|postpone|shift|cancel|delete|call) (it|that|this)( one| appointment)?"
    ),
    Want.FIND: (
        r"(when|what time|what day) (is|was|s|are) my|whens my|when am i|"
        r"(do|did) i (already )?have|my next|(what|which|any|upcoming|my) appointments|"
        r"(check|look up|find|confirm) my|upcoming appointment"
    ),
    Want.PRICE: (r"how much|prices?|costs?|charges?|how expensive|what do you charge|fees?"),
    Want.LENGTH: (r"how long"),
    Want.SERVICES: (
        r"(what|which) services|what (all )?(do|can) you (do|offer)|kinds? of service|"
        r"what can i (book|get)"
    ),
    Want.HOURS: (
        r"(your|opening|business) hours|what hours|"
        r"(when|what time|until when|how late) (do|are) you (open|close|closed)|are you open|"
        r"you open"
    ),
    Want.ADDRESS: (r"your (address|location)|where (are|is) (you|the|your)|how do i get there"),
    Want.RECORD: (
        r"on file|my (record|account|file)|last (service|visit|time)|"
        r"(what|which) (car|vehicle)s? (do|is)|who am i|know (who|about) (i|me)"
    ),
    Want.PERSON: (
        r"(speak|talk|transfer|connect|put)\b.* (to|with|through)|"
        r"(real|actual|live) (person|human)|representative|operator|human being|"
        r"(an?|the) (human|person|agent|advisor|manager)"
    ),
    Want.WHO: (
        r"(are|is) (you|this|that) (an? |the )?(real|robot|bot|machine|human|computer|person|ai|recording|automated)|"
        r"who (are you|is this|am i)|what are you|whats your name|"
        r"(talking|speaking) to (an? )?(robot|bot|machine|human|computer|real|ai)"
    ),
    Want.HELLO: (r"hello|hi|hey|good (morning|afternoon|evening)"),
    Want.THERE: (r"are you (still )?there|can you hear me|anybody there|you there"),
    Want.THANKS: (r"thanks|thank you|appreciate it|cheers"),
    Want.REPEAT: (
        r"repeat|(say|tell me) (that|it) again|once more|pardon|what did you say|come again|"
        r"what was that|(didnt|did not) (hear|catch|get) (that|you|it)|excuse me|"
        r"^(sorry|what|huh)$"
    ),
    Want.WAIT: (r"hold on|hang on|(one|a|just a) (moment|second|sec|minute)|wait|let me (see|think|check)"),
    Want.BYE: (
        r"goodbye|good bye|bye|bye bye|see you|hang up|"
        r"have a (good|nice|great) (day|one|evening|afternoon)"
    ),
    Want.DONE: (
        r"(thats|that is|thatll be|that will be|that would be) (all|it|everything)|nothing else|"
        r"im (all )?(done|set|good)|(all|thats) good|no more|not (right now|today)|that does it"
    ),
    Want.ANY: (
        r"(any|either|whichever|whatever)( (one|of (them|those)|time|works|is fine))?|"
        r"doesnt matter|dont care|you (choose|pick|decide)|dont mind"
    ),
    Want.EARLIER: (r"earlier|sooner|before that"),
    Want.LATER: (r"later|after that"),
    Want.YES: (
        r"yes|yeah|yep|yup|yes please|sure|correct|right|ok|okay|please do|"
        r"sounds (good|great|fine)|go ahead|perfect|(that|it) works|works for me|fine|absolutely|"
        r"of course|great|do it|definitely|please|exactly|uh huh|thats (right|fine|great|perfect)|"
        r"it is|lets do (it|that)|ill take (it|that)"
    ),
    Want.NO: (
        r"no|nope|nah|not (that|really|right|correct)|wrong|incorrect|dont|neither|none|no thanks|"
        r"(that )?(doesnt|does not|wont) work"
    ),
}
_PATTERNS = {want: re.compile(rf"\b(?:{phrases})\b") for want, phrases in _PHRASES.items()}


def wants_in(text: str) -> frozenset[Want]:
    """Everything that the plain words of `text` ask for."""
    return frozenset(want for want, pattern in _PATTERNS.items() if pattern.search(text))
