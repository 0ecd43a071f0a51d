"""Which parts are real and which are local stand-ins: decided from the settings alone."""

from dataclasses import dataclass

from engine.settings import Settings


@dataclass(frozen=True)
class Plan:
    """What has to be started because nothing of the kind is configured."""

    postgres: bool
    valkey: bool
    speech: bool
    receptionist: bool


@dataclass(frozen=True)
class Part:
    """One line of the table: what does a job here, and whether that is the real thing."""

    job: str
    served_by: str
    real: bool


def plan_for(settings: Settings) -> Plan:
    """A base URL that was changed names a server of the user's own, with or without a key."""
    fields = Settings.model_fields
    return Plan(
        postgres=not settings.database_url,
        valkey=not settings.redis_url,
        speech=not settings.deepgram_api_key
        and settings.deepgram_base_url == fields["deepgram_base_url"].default,
        receptionist=not settings.openai_api_key
        and settings.openai_base_url == fields["openai_base_url"].default,
    )


def parts_of(settings: Settings, *, haproxy: bool) -> list[Part]:
    """The table's lines for these settings."""
    plan = plan_for(settings)
    twilio = bool(settings.twilio_account_sid)
    return [
        Part("telephone", "Twilio" if twilio else "none: calls by make call", twilio),
        _part(
            "hears and speaks",
            plan.speech,
            f"Deepgram ({settings.deepgram_base_url})",
            "Moonshine and Piper, on this CPU",
        ),
        _part(
            "thinks",
            plan.receptionist,
            f"{settings.llm_model} ({settings.openai_base_url})",
            "receptionist, by rules",
        ),
        Part("customers and calendar", _server("Postgres", "DATABASE_URL", plan.postgres), real=True),
        Part("calls under way", _server("Valkey", "REDIS_URL", plan.valkey), real=True),
        Part("media path", "HAProxy" if haproxy else "Serve's own proxy", haproxy),
    ]


def _part(job: str, local: bool, real_name: str, local_name: str) -> Part:
    return Part(job, local_name if local else real_name, not local)


def _server(name: str, variable: str, local: bool) -> str:
    return f"{name}, started here" if local else f"the server in {variable}"
