"""Which parts are real and which are local: decided from the settings alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engine.settings import Settings
from launcher.errors import LaunchError

LOCAL = "local"  # of STT_FALLBACK, TTS_FALLBACK and LLM_FALLBACK
# Local servers ask for no key, but the vendors' clients refuse to start without one.
_LOCAL_KEY = "local"


@dataclass(frozen=True)
class Plan:
    """What has to be started here: in the place of what is not configured, and in reserve for what is."""

    postgres: bool
    valkey: bool
    speech: bool
    receptionist: bool
    reserves: tuple[str, ...] = ()  # the settings that ask for one: stt_fallback, tts_fallback, llm_fallback

    @property
    def starts_speech(self) -> bool:
        """Whether a speech server runs here."""
        return self.speech or "stt_fallback" in self.reserves or "tts_fallback" in self.reserves

    @property
    def starts_receptionist(self) -> bool:
        """Whether a receptionist runs here."""
        return self.receptionist or "llm_fallback" in self.reserves


@dataclass(frozen=True)
class Part:
    """One line of the table: what does a job here, and whether that is the real thing."""

    job: str
    served_by: str
    real: bool


@dataclass(frozen=True)
class Addresses:
    """Where what was started here is reached; "" for what was not."""

    postgres: str = ""
    valkey: str = ""
    speech: str = ""
    receptionist: str = ""


def plan_for(settings: Settings) -> Plan:
    """A base URL that was changed names a server of the user's own, with or without a key."""
    fields = Settings.model_fields
    speech = (
        not settings.deepgram_api_key and settings.deepgram_base_url == fields["deepgram_base_url"].default
    )
    receptionist = (
        not settings.openai_api_key and settings.openai_base_url == fields["openai_base_url"].default
    )
    # What serves already is no help when it fails.
    serves = {"stt_fallback": speech, "tts_fallback": speech, "llm_fallback": receptionist}
    return Plan(
        postgres=not settings.database_url,
        valkey=not settings.redis_url,
        speech=speech,
        receptionist=receptionist,
        reserves=tuple(name for name in said_local(settings) if not serves[name]),
    )


def said_local(settings: Settings) -> tuple[str, ...]:
    """The fallbacks that say `local`."""
    return tuple(
        name for name in ("stt_fallback", "tts_fallback", "llm_fallback") if getattr(settings, name) == LOCAL
    )


def settled(settings: Settings, at: Addresses) -> Settings:
    """The settings with these addresses where the plan has something local; no fallback says `local` any more.

    Raises `LaunchError` for an address that is missing.
    """
    plan = plan_for(settings)
    found = dict.fromkeys(said_local(settings), "")
    for wanted, url, names in _local_parts(plan, at):
        if not wanted:
            continue
        if not url:
            what = names[0].upper()
            lacks = f"{what} says `local`" if names[0] in plan.reserves else f"{what} is not set"
            raise LaunchError(
                f"{lacks}, and make serve started no stand-in for it: set it, or start it anew."
            )
        found |= dict(zip(names, (url, _LOCAL_KEY), strict=False))
    return settings.model_copy(update=found)


def _local_parts(plan: Plan, at: Addresses) -> Iterator[tuple[bool, str, tuple[str, ...]]]:
    """Whether it is wanted, where it is, and the settings that lead to it: its address, and its key if it has one."""
    model = at.receptionist and f"{at.receptionist}/v1"
    yield plan.postgres, at.postgres, ("database_url",)
    yield plan.valkey, at.valkey, ("redis_url",)
    yield plan.speech, at.speech, ("deepgram_base_url", "deepgram_api_key")
    yield plan.receptionist, model, ("openai_base_url", "openai_api_key")
    reserve: Mapping[str, str] = {
        "stt_fallback": at.speech,
        "tts_fallback": at.speech,
        "llm_fallback": model,
    }
    for name, url in reserve.items():
        yield name in plan.reserves, url, (name, f"{name}_key")


def parts_of(settings: Settings, *, haproxy: bool) -> list[Part]:
    """The table's lines for these settings."""
    plan = plan_for(settings)
    twilio = bool(settings.twilio_account_sid)
    return [
        Part("telephone", "Twilio" if twilio else "none: calls by make call", twilio),
        _part("hears and speaks", plan.speech, f"Deepgram ({settings.deepgram_base_url})", _SPEECH),
        _part(
            "thinks", plan.receptionist, f"{settings.llm_model} ({settings.openai_base_url})", _RECEPTIONIST
        ),
        *_reserve(settings, plan),
        Part("customers and calendar", _server("Postgres", "DATABASE_URL", plan.postgres), real=True),
        Part("calls under way", _server("Valkey", "REDIS_URL", plan.valkey), real=True),
        Part("media path", "HAProxy" if haproxy else "Serve's own proxy", haproxy),
    ]


_SPEECH = "Moonshine and Piper, on this CPU"
_RECEPTIONIST = "receptionist, by rules"


def _reserve(settings: Settings, plan: Plan) -> Iterator[Part]:
    """Who takes over from a vendor that fails."""
    hears, speaks = settings.stt_fallback, settings.tts_fallback
    jobs = {"hears": hears, "speaks": speaks} if hears != speaks else {"hears and speaks": hears}
    for job, spare in jobs.items():
        if spare and not (spare == LOCAL and plan.speech):
            yield _part(f"{job}, in reserve", spare == LOCAL, f"Deepgram's protocol ({spare})", _SPEECH)
    thinks = settings.llm_fallback
    if thinks == LOCAL and not plan.receptionist:
        yield _part("thinks, in reserve", True, "", _RECEPTIONIST)
    elif thinks not in ("", LOCAL) or (settings.llm_fallback_model and not plan.receptionist):
        at = thinks or settings.openai_base_url
        model = f"{settings.llm_fallback_model or settings.llm_model} ({at})"
        yield _part("thinks, in reserve", False, model, _RECEPTIONIST)


def _part(job: str, local: bool, real_name: str, local_name: str) -> Part:
    return Part(job, local_name if local else real_name, not local)


def _server(name: str, variable: str, local: bool) -> str:
    return f"{name}, started here" if local else f"the server in {variable}"
