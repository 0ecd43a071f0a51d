"""Twilio's side: is the account good, and does a number of it ask this app?"""

from urllib.parse import urldefrag, urlsplit

from doctor.findings import Finding, ok, untried, warning, within, wrong
from engine.settings import Settings
from engine.twilio.rest import Number, TwilioFailed, TwilioRest
from launcher.serve import RETRIES, WEBHOOK

ACCOUNT, NUMBER, PEOPLE = "Twilio account", "Twilio number", "people"
_AWAY = "Check the network, and TWILIO_BASE_URL."


async def check_telephone(settings: Settings, public_url: str, limit_s: float) -> list[Finding]:
    """The account, its numbers, and the people that callers are put through to."""
    if not settings.twilio_account_sid:
        return [ok(ACCOUNT, "none is set: calls come by make call")]
    rest = TwilioRest(settings)
    try:
        account = await within(limit_s, ACCOUNT, _AWAY, _account(rest))
        if account.is_wrong:
            number = untried(NUMBER, "see the account")
        else:
            number = await within(limit_s, NUMBER, _AWAY, _number(rest, public_url))
    finally:
        await rest.close()
    return [account, number, _people(settings)]


async def _account(rest: TwilioRest) -> Finding:
    try:
        found = await rest.account()
    except TwilioFailed as failed:
        if failed.status in (401, 403, 404):
            todo = "Set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN to those of console.twilio.com."
            return wrong(ACCOUNT, f"the SID or the token is refused ({failed.status})", todo)
        if failed.status == 429:
            return warning(ACCOUNT, "too many requests at once", "Try again in a minute.")
        todo = "Check the network and DNS of this machine, TWILIO_BASE_URL, and status.twilio.com."
        return wrong(ACCOUNT, str(failed), todo)
    if found.status != "active":
        return wrong(ACCOUNT, f"it is {found.status}", "See console.twilio.com: no call reaches it so.")
    return ok(ACCOUNT, f"{found.name}, active")


async def _number(rest: TwilioRest, public_url: str) -> Finding:
    try:
        numbers = await rest.numbers()
    except TwilioFailed as failed:
        return warning(
            NUMBER, f"not told: {failed}", "Look in console.twilio.com which address the number asks."
        )
    if not public_url:
        return warning(
            NUMBER, f"{len(numbers)} of the account", "Set BASE_URL, and give a number the address below."
        )
    wanted = f"{public_url}{WEBHOOK}"
    ours = [one for one in numbers if urldefrag(one.voice_url).url == wanted]
    if ours:
        return _asks_us(ours[0], wanted)
    elsewhere = [one for one in numbers if urlsplit(one.voice_url).path.rstrip("/") == WEBHOOK]
    if elsewhere:
        asks = f"{elsewhere[0].number} asks {elsewhere[0].voice_url}, and the app is at {public_url}"
        return wrong(NUMBER, asks, "Give the number the address below, or set BASE_URL to the one it asks.")
    what = f"none of the account's {len(numbers)} asks this app"
    return warning(
        NUMBER, what, "At the number, Voice Configuration, 'A call comes in', paste the address below."
    )


def _asks_us(number: Number, wanted: str) -> Finding:
    what = f"{number.number} asks this app"
    if not urldefrag(number.voice_url).fragment:
        return warning(NUMBER, what, f"Add {RETRIES} to its address, so that Twilio tries again.")
    if not number.fallback_url:
        todo = "At 'Primary handler fails', choose a TwiML Bin that dials a person, for when this machine is gone."
        return warning(NUMBER, what, todo)
    return ok(NUMBER, what)


def _people(settings: Settings) -> Finding:
    if not settings.fallback_number:
        todo = "Set FALLBACK_NUMBER, to which callers are put through when the agent can't go on."
        return warning(PEOPLE, "FALLBACK_NUMBER is empty: such calls just end", todo)
    if not settings.transfer_number:
        todo = "Set TRANSFER_NUMBER, for callers who ask for a person."
        return warning(PEOPLE, "TRANSFER_NUMBER is empty: nobody can be asked for", todo)
    return ok(PEOPLE, "FALLBACK_NUMBER and TRANSFER_NUMBER are set")
