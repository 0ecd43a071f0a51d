"""What people are called aloud: the first name in what somebody once wrote into a file.

Files have "Sarah Mitchell", "MITCHELL, SARAH", "Dr. Sarah Mitchell MD", "Okafor Plumbing LLC" and "n/a". Where it is
not sure which word is the first name, or whose it is, there is none: a greeting without a name offends nobody, and a
last name may not be said to whoever calls from the number.
"""

import re
import unicodedata

_TITLES = """
    dr mr mrs ms mx miss prof professor doctor rev reverend fr father sister pastor rabbi imam hon judge sir dame lady
    lord madam sgt sergeant cpl capt captain col colonel lt lieutenant maj major gen general
"""
_DEGREES = "jr sr ii iii iv md phd dds dvm rn cpa esq ret usn usmc usaf"
_BUSINESSES = """
    llc llp lp pllc inc incorporated corp corporation co company ltd limited gmbh plc plumbing electric electrical
    heating cooling hvac roofing construction contracting contractors builders landscaping lawn trucking transport
    transportation logistics hauling towing delivery auto automotive motors motor cars fleet rental rentals leasing
    services service solutions systems group holdings enterprises industries international partners associates agency
    realty properties management consulting bros brothers sons supply hardware restaurant cafe catering bakery pizza
    salon spa clinic dental medical hospital pharmacy school university college district county city state department
    dept bureau office foundation ministries insurance bank the of dealership shop store farm farms taxi limo cleaning
    painting security
"""
_PLACEHOLDERS = """
    unknown none na nobody test customer caller cash guest walkin walk wireless anonymous private unavailable nan null
    tbd account
"""
_BETWEEN_TWO = "and or y und"  # "Sarah and Tom Mitchell": which of them calls?
_TITLE_WORDS, _DEGREE_WORDS = frozenset(_TITLES.split()), frozenset(_DEGREES.split())
_NOBODYS = frozenset(f"{_BUSINESSES} {_PLACEHOLDERS} {_BETWEEN_TWO}".split())
_TWO_LETTERS = "al an bo cy di ed jo li lu mo su ty vi xi yu"  # names, where others are initials
_SHORT = frozenset(_TWO_LETTERS.split())
_LONGEST, _MOST_WORDS = 24, 3


def first_name(name: str, preferred: str | None = None) -> str:
    """What a customer is called in a greeting, "" if that is not sure. `preferred` is said as it is, if it can be."""
    if preferred:
        words = _words(preferred)
        called = " ".join(_cased(word) for word in words)
        if 0 < len(words) <= _MOST_WORDS and len(called) <= _LONGEST and all(map(_is_said, words)):
            return called
    return _first(name)


def _first(name: str) -> str:
    if any(character.isdigit() or character in "@&/+" for character in name):
        return ""
    front, comma, back = re.sub(r"\(.*?\)|\".*?\"", " ", name).partition(",")
    before, after = _bare(front), _bare(back)
    if {_plain(word) for word in before + after} & _NOBODYS:
        return ""
    is_reversed = comma and (after or len(before) == 1)  # "Mitchell, Sarah"
    words = after if is_reversed else before
    full = [at for at, word in enumerate(words) if _is_full(word)]
    if not full or (not is_reversed and full[0] == len(words) - 1 and len(_words(front)) > 1):
        return ""  # a title or an initial, and a last name
    word = words[full[0]].rstrip(".")
    return _cased(word) if len(word) <= _LONGEST and _is_said(word) else ""


def _bare(text: str) -> list[str]:
    """The words, without titles before them and degrees after them."""
    words = _words(text)
    while words and _plain(words[0]) in _TITLE_WORDS:
        words = words[1:]
    while words and _plain(words[-1]) in _DEGREE_WORDS:
        words = words[:-1]
    return words


def _words(text: str) -> list[str]:
    return unicodedata.normalize("NFC", text).replace("’", "'").split()


def _plain(word: str) -> str:
    return "".join(letter for letter in word.lower() if letter.isalpha())


def _is_full(word: str) -> bool:
    """Whether it is a name and not initials."""
    return len(_plain(word)) > 1 and "." not in word.rstrip(".")


def _is_said(word: str) -> bool:
    """Whether a voice that speaks English can say it."""
    letters = [letter for letter in word if letter not in "'-."]
    return bool(letters) and all(one.isalpha() and "LATIN" in unicodedata.name(one, "") for one in letters)


def _cased(word: str) -> str:
    """ "SARAH" and "sarah" are "Sarah"; "DeShawn" and "TJ" are as they are."""
    shouted = word.isupper() and (len(word) > 2 or word.lower() in _SHORT)
    return word.title() if word.islower() or shouted else word
