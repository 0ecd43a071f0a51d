"""What recognition made of a VIN that was read out on the telephone, taken apart into characters.

People spell in many ways: "one h g", "B as in boy", "hotel golf", "double two", "oh" for zero, "eighty two", "three,
no, five". Keys that were pressed come in the words in which the model is told of them, or as "keys 14423", and
answers to a question about one character as "fourth is D as in David". What was said with a word is sure: no other
letter has it.

`hear` never fails. Words that are no characters are left out, and told, so that a number that is too short can be
asked for.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from typing import NamedTuple

from crm import confusions, saying
from crm.vin import LENGTH


class Symbol(NamedTuple):
    """A character as it was heard. `sure`: it was said with a word, or in one."""

    char: str
    sure: bool = False


@dataclass(frozen=True)
class Heard:
    """`placed`: characters that were named by their place, from 0. `keys`: what was pressed, digits only. `strange`:
    words that were not understood.
    """

    symbols: tuple[Symbol, ...]
    placed: dict[int, Symbol] = field(default_factory=dict)
    keys: str = ""
    strange: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The characters in order, sure or not."""
        return "".join(symbol.char for symbol in self.symbols)


def _table(text: str) -> dict[str, str]:
    return dict(pair.split(":") for pair in text.split())


# There is no I, O or Q in a VIN: they are what is heard, or seen, of 1 and 0.
_LOOKALIKES = str.maketrans("IOQ", "100")

_UNITS = _table(
    "zero:0 nought:0 one:1 two:2 three:3 tree:3 four:4 fower:4 five:5 fife:5 six:6 seven:7 eight:8 nine:9 niner:9"
)
_TEENS = _table(
    "ten:10 eleven:11 twelve:12 thirteen:13 fourteen:14 fifteen:15 sixteen:16 seventeen:17 eighteen:18 nineteen:19"
)
_TENS = _table("twenty:2 thirty:3 forty:4 fourty:4 fifty:5 sixty:6 seventy:7 eighty:8 ninety:9")
_SOUNDS = _table(
    "oh:0 owe:0 won:1 to:2 too:2 for:4 ate:8 nein:9 ay:A be:B bee:B cee:C see:C sea:C dee:D ee:E eff:F ef:F gee:G "
    "jee:G age:H aitch:H haitch:H eye:I aye:I jay:J kay:K el:L ell:L em:M en:N pea:P pee:P cue:Q queue:Q are:R ar:R "
    "es:S ess:S tea:T tee:T ewe:U you:U vee:V ex:X why:Y wye:Y zee:Z zed:Z"
)
# The radio alphabet, and the names and things that people take instead of it.
_SPELLING = (
    "alpha alfa bravo charlie delta echo foxtrot golf hotel india juliet juliett juliette kilo lima mike "
    "november oscar papa quebec romeo sierra tango uniform victor whiskey whisky xray yankee zulu adam apple "
    "able baker boy bob ball cat charles david dog denver edward easy elephant frank fox fred george girl henry "
    "harry house ida igloo ice jack john king kite kansas larry lincoln love lion mary mother monkey nancy nora "
    "nathan ocean orange paul peter pizza queen robert roger ralph rabbit sam susan sugar steve thomas tom "
    "tiger texas union uncle umbrella vincent vegas william water young yellow yoyo zebra zoo"
)
_WORDS = {word: word[0].upper() for word in _SPELLING.split()}
_DIGIT_WORDS = frozenset(("niner", "fife"))  # said so that nobody takes the one for the other
_REPEATS = {"double": 2, "triple": 3, "treble": 3, "quadruple": 4}
_UNHEARD = (
    "the and then my vin is its it's it i'm that that's number numbers dash hyphen space um uh er ah okay ok "
    "capital upper uppercase case letter letters digit digits character characters comma period point so "
    "alright yes yeah yep please wait hold on car's of there another ends end ending starts begins with by "
    "followed next"
)
_NOISE = frozenset(_UNHEARD.split())
_ORDINALS = {saying.ordinal(place + 1): place for place in range(LENGTH)}
_PLACE_WORDS = frozenset(("character", "position", "place"))
_FILLING = "character letter digit place position is was be should a an the it's :"
_AFTER_PLACE = frozenset(_FILLING.split())

_PAUSE, _CORRECTION = "|", "<"
_CORRECTIONS = re.compile(
    r"\b(?:no|nope|sorry|correction|actually|rather|i mean|i meant|make that|make it|scratch that|strike that)\b"
)
_ASIDES = re.compile(
    r"\b(?:wait a|just a|one|a) (?:second|moment|minute)\b|\bhold on\b|\blet me see\b|\bthank you\b"
)
_PRESSED = re.compile(r"\[?(?:the caller )?pressed ([0-9*#]+) on the keypad\.?\]?", re.IGNORECASE)
_KEYS = re.compile(r"\bkeys?\b[\s:]*((?:[0-9*#]+(?![0-9a-z*#])\s*)+)", re.IGNORECASE)
_WRITTEN = re.compile(r"[A-Z0-9]{13}[0-9OIQ]{4}")
_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[,.;:|<]")


def hear(said: str) -> Heard:
    """Takes a text apart. Any text will do; a number that is written out is read as it is."""
    text = unicodedata.normalize("NFKC", said)
    text, keys = _without_keys(text)
    compact = re.sub(r"[\s\-.,]", "", text).upper()
    if _WRITTEN.fullmatch(compact) and len(compact) == LENGTH:
        return Heard(tuple(Symbol(c) for c in compact.translate(_LOOKALIKES)), keys=keys)
    return _Reading(text).heard(keys)


def _without_keys(text: str) -> tuple[str, str]:
    """Takes what was pressed out of a text; a star takes the last key back, a hash only ends."""
    pressed: list[str] = []

    def take(found: re.Match[str]) -> str:
        for key in found[1]:
            if key == "*" and pressed:
                pressed.pop()
            elif key.isascii() and key.isdigit():
                pressed.append(key)
        return " "

    return _KEYS.sub(take, _PRESSED.sub(take, text)), "".join(pressed)


class _Reading:
    """Reads tokens from left to right, one expression for a character, or for some, after the other."""

    def __init__(self, text: str) -> None:
        lower = _ASIDES.sub(" ", text.lower())
        lower = re.sub(r"\bx[\s-]?ray\b", "xray", lower)
        lower = re.sub(r"\bdouble[\s-]?(?:u|you|yew)\b", "w", lower)
        lower = _CORRECTIONS.sub(_CORRECTION, lower)
        self._tokens = [_PAUSE if token in ",.;" else token for token in _TOKEN.findall(lower)]
        self._shouted = frozenset(re.findall(r"\b[A-Z]{2,}\b", text))  # letters run together are written so
        self._at = 0
        self._strange: list[str] = []

    def heard(self, keys: str) -> Heard:
        symbols: list[Symbol] = []
        placed: dict[int, Symbol] = {}
        while self._at < len(self._tokens):
            place = self._place()
            if place is not None:
                found = self._expression()
                if found:
                    placed[place] = found[0]
                    symbols += found[1:]
            elif self._token() == _CORRECTION:
                symbols = _corrected(symbols, self._correction())
            else:
                symbols += self._expression()
        return Heard(tuple(symbols), placed, keys, tuple(self._strange))

    def _token(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else ""

    def _place(self) -> int | None:
        """A place that is named here, as in "fourth is" and "character 4"; the next token is what stands there."""
        token = self._token()
        place = _ORDINALS.get(token)
        counted = re.fullmatch(r"(\d\d?)(?:st|nd|rd|th)", token)
        length = 1
        if counted:
            place = int(counted[1]) - 1
        elif token in _PLACE_WORDS:
            number = self._token(1)
            number = _UNITS.get(number) or _TEENS.get(number) or number
            place, length = (int(number) - 1, 2) if re.fullmatch(r"\d\d?", number) else (None, 0)
        if place is None or not 0 <= place < LENGTH:
            return None
        self._at += length
        while self._token() in _AFTER_PLACE and self._token(1):
            self._at += 1
        return place

    def _correction(self) -> list[Symbol]:
        """What was said instead, up to the next pause."""
        while self._token() in (_CORRECTION, _PAUSE):
            self._at += 1
        instead: list[Symbol] = []
        while self._token() not in ("", _CORRECTION, _PAUSE):
            instead += self._expression()
        return instead

    def _expression(self) -> list[Symbol]:
        """The characters that the next words stand for; moves on by one token at least."""
        token = self._token()
        self._at += 1
        if token in _REPEATS and self._token():
            found = self._expression()
            return found[:1] * _REPEATS[token] + found[1:]
        if token in _TENS or token in _TEENS or token in _UNITS:
            return self._number(token)
        if token in _WORDS:
            return [_symbol(_WORDS[token], sure=True)]
        letter = _SOUNDS.get(token) or (token.upper() if len(token) == 1 and token.isascii() else "")
        if letter.isalnum():
            return [self._spelled(letter)]
        if token in _NOISE or token in (_PAUSE, ":", _CORRECTION):
            return []
        if self._is_run(token):
            return [_symbol(c) for c in token.upper()]
        self._strange.append(token)
        return []

    def _number(self, token: str) -> list[Symbol]:
        """ "eighty two" is 82, "eighty" 80, "two hundred" 200, "five thousand" 5000, and one digit stays alone."""
        if token in _TENS:
            digits = _TENS[token]
            unit = _UNITS.get(self._token(), "")
            if unit not in ("", "0"):
                self._at += 1
                return [_symbol(digits), _symbol(unit)]
            return [_symbol(digits), _symbol("0")]
        digits = _TEENS.get(token) or _UNITS[token]
        zeros = {"hundred": "00", "thousand": "000"}.get(self._token(), "")
        if zeros:
            self._at += 1
            return [_symbol(digit) for digit in digits + zeros]
        if len(digits) == 1:
            return [self._spelled(digits, sure=token in _DIGIT_WORDS)]
        return [_symbol(digit) for digit in digits]

    def _spelled(self, char: str, sure: bool = False) -> Symbol:
        """The character, with the word that may follow: "as in boy", "like David", "for boy", or just "boy"."""
        for link in (
            ("as", "in"),
            ("is", "in"),
            ("as", "an"),
            ("like", "in"),
            ("like",),
            ("as",),
            ("for",),
            (),
        ):
            word = self._token(len(link))
            if tuple(self._token(n) for n in range(len(link))) != link or not word.isalpha():
                continue
            plainly = link not in (("for",), ())
            if len(word) > 1 and (plainly or _WORDS.get(word) == char):
                self._at += len(link) + 1
                return _by_word(char, word)
        return _symbol(char, sure)

    def _is_run(self, token: str) -> bool:
        """Whether a token is characters that were written together. Words that are not in capitals are words."""
        if not (token.isascii() and token.isalnum()):
            return False
        return not token.isalpha() or token.upper() in self._shouted or not re.search("[aeiouy]", token)


def _by_word(char: str, word: str) -> Symbol:
    """The word is heard better than the letter: "B as in David" is D. Of a word that we don't know, only if the
    letters sound alike: people say "C as in knowledge" too.
    """
    first = _WORDS.get(word) or word[0].upper()
    known = word in _WORDS or first == char or first in confusions.of(char.translate(_LOOKALIKES))
    return _symbol(first if known else char, sure=known)


def _symbol(char: str, sure: bool = False) -> Symbol:
    return Symbol(char.translate(_LOOKALIKES), sure)


def _corrected(symbols: list[Symbol], instead: list[Symbol]) -> list[Symbol]:
    """ "three, no, five" replaces one; "three four, no, three five" as many as are said again with another end."""
    before, after = [s.char for s in symbols], [s.char for s in instead]
    for again in range(min(len(before), len(after), 6), 1, -1):
        if before[-again:-1] == after[: again - 1]:
            return symbols[:-again] + instead
    return symbols[:-1] + instead if instead else symbols
