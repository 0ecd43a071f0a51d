"""Vehicle identification numbers: what a caller said, made into 17 characters, and checked.

Source: 49 CFR Part 565 and ISO 3779. The letters I, O and Q never occur.
"""

import re

LENGTH = 17
_ALLOWED = re.compile(r"[A-HJ-NPR-Z0-9]{17}")
_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
_VALUES = {
    **{str(n): n for n in range(10)},
    **dict(zip("ABCDEFGH", range(1, 9), strict=True)),
    **dict(zip("JKLMN", range(1, 6), strict=True)),
    "P": 7,
    "R": 9,
    **dict(zip("STUVWXYZ", range(2, 10), strict=True)),  # S starts at 2: that row has no 1
}
_YEARS = "ABCDEFGHJKLMNPRSTVWXY123456789"  # position 10, a cycle of 30 years

# There is no I, O or Q to confuse them with.
_LOOKALIKES = str.maketrans("IOQ", "100")


def _table(text: str) -> dict[str, str]:
    return dict(pair.split(":") for pair in text.split())


_DIGITS = _table(
    "zero:0 oh:0 one:1 two:2 to:2 too:2 three:3 four:4 for:4 five:5 six:6 seven:7 eight:8 ate:8 nine:9 "
    "niner:9 ten:10 eleven:11 twelve:12 thirteen:13 fourteen:14 fifteen:15 sixteen:16 seventeen:17 "
    "eighteen:18 nineteen:19"
)
_TENS = _table("twenty:2 thirty:3 forty:4 fifty:5 sixty:6 seventy:7 eighty:8 ninety:9")
_LETTERS = _table(
    "bee:B cee:C see:C sea:C dee:D eff:F gee:G aitch:H eye:I jay:J kay:K el:L em:M en:N pee:P cue:Q queue:Q "
    "are:R ar:R ess:S tee:T tea:T you:U vee:V ex:X why:Y zee:Z zed:Z"
)
_ALPHABET = _table(
    "alpha:A alfa:A bravo:B charlie:C delta:D echo:E foxtrot:F golf:G hotel:H india:I juliet:J juliett:J "
    "kilo:K lima:L mike:M november:N oscar:O papa:P quebec:Q romeo:R sierra:S tango:T uniform:U victor:V "
    "whiskey:W whisky:W xray:X yankee:Y zulu:Z"
)
_SPOKEN = _DIGITS | _LETTERS | _ALPHABET
_NOISE = frozenset(
    _table("my: vin: is: it's: its: the: and: then: number: dash: hyphen: space: um: uh: okay:")
)
_REPEATS = {"double": 2, "triple": 3}


def normalise(said: str) -> str:
    """The characters of a VIN as a caller or the model gave it: upper case, no spaces, O Q I as 0 0 1.

    Takes written VINs ("1hgcm-82633 a004352") and spoken ones ("one hotel golf", "double three",
    "M as in Mike", "oh", "twenty one"). The result can have any length and content: `problem` judges it.
    """
    compact = re.sub(r"[\s\-.,]", "", said).upper()
    if len(compact) == LENGTH and compact.isascii() and compact.isalnum():
        return compact.translate(_LOOKALIKES)
    text = re.sub(r"\bx[\s-]ray\b", "xray", said.lower())
    text = re.sub(r"\bdouble[\s-](?:u|you)\b", "w", text)
    text = re.sub(r"\b(?:as in|like)\s+[^\W_]+", " ", text)
    tokens = re.findall(r"[^\s\-.,;:/]+", text)
    return "".join(_characters(tokens)).upper().translate(_LOOKALIKES)


def _characters(tokens: list[str]) -> list[str]:
    out: list[str] = []
    times = 1
    for at, token in enumerate(tokens):
        if token in _REPEATS:
            times = _REPEATS[token]
        elif token in _TENS:
            following = _DIGITS.get(tokens[at + 1], "") if at + 1 < len(tokens) else ""
            joins = len(following) == 1 and following != "0"
            out.append(_TENS[token] + ("" if joins else "0"))
        elif token not in _NOISE:
            out.append(_SPOKEN.get(token, token) * times)
            times = 1
    return out


def check_digit(vin: str) -> str:
    """What position 9 of a 17-character VIN must be: 0-9 or X. It does not depend on what stands there."""
    remainder = sum(_VALUES[c] * w for c, w in zip(vin, _WEIGHTS, strict=True)) % 11
    return "X" if remainder == 10 else str(remainder)


def has_right_check_digit(vin: str) -> bool:
    """Whether a VIN of the right form passes; only cars made for North America must."""
    return check_digit(vin) == vin[8]


def problem(vin: str) -> str | None:
    """Why this can't be a VIN at all, as a sentence for the model, or None."""
    if len(vin) != LENGTH:
        return f"A VIN has {LENGTH} characters; {len(vin)} were understood. Read them back and ask again."
    if _ALLOWED.fullmatch(vin) is None:
        wrong = sorted({c for c in vin if not re.fullmatch(r"[A-HJ-NPR-Z0-9]", c)})
        return f"A VIN has only letters and digits; {' '.join(wrong)} can't be in one. Ask again."
    return None


def model_year(vin: str) -> int | None:
    """The model year that position 10 stands for, or None if it is no year code.

    Position 7 tells the cycle for cars and light trucks: a digit is 1980 to 2009, a letter 2010 to 2039.
    """
    index = _YEARS.find(vin[9])
    if index < 0:
        return None
    return (1980 if vin[6].isdigit() else 2010) + index
