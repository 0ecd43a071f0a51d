"""Every setting, read once from the environment and `.env`, validated at start-up.

The name in the environment is the field's name in capitals. Wrong values stop the start with a
sentence that says what to set.
"""

import re
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SECRETS = (
    "twilio_auth_token",
    "deepgram_api_key",
    "openai_api_key",
    "stt_fallback_key",
    "tts_fallback_key",
    "llm_fallback_key",
)


class SettingsError(Exception):
    """A setting is missing or wrong; the message says which and what to do."""


class Settings(BaseSettings):
    """Settings of the engine and the app. Each field's description is its line in the README's table."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    # --- where it listens
    host: str = Field("127.0.0.1", description="Address that HTTP and WebSocket listen on")
    port: int = Field(8000, ge=1, le=65535, description="Port that HTTP and WebSocket listen on")
    base_url: str = Field(
        "", description="Public https URL of this app, as Twilio reaches it; empty: taken from each request"
    )

    # --- Twilio
    twilio_account_sid: str = Field("", description="Twilio account SID")
    twilio_auth_token: str = Field("", description="Twilio auth token: checks webhook signatures")
    twilio_base_url: str = Field(
        "https://api.twilio.com",
        description="Base URL of Twilio's REST API; another for another region, e.g. https://api.dublin.ie1.twilio.com",
    )
    twilio_rest_s: float = Field(
        3.0,
        gt=0,
        le=30,
        description="Longest wait for one request to that API, in seconds; a caller may be in dead air meanwhile",
    )
    twilio_rest_tries: int = Field(
        3, ge=1, le=10, description="How often such a request is made, where it may be made again"
    )
    twilio_wait_most_s: float = Field(
        5.0,
        gt=0,
        le=60,
        description="Longest wait that a busy Twilio may ask for (Retry-After), in seconds; told to wait longer, the request has failed at once",
    )
    twilio_asks_s: float = Field(
        4.0,
        gt=0,
        le=60,
        description="How long Twilio has to ask what comes after a stream that ended, in seconds; then the call is redirected or hung up through that API, because its end of the stream may have noticed nothing",
    )
    stream_close_s: float = Field(
        2.0,
        gt=0,
        le=60,
        description="How long closing a call's socket may take, in seconds; then the call is ended through that API",
    )
    stream_start_s: float = Field(
        3.0,
        gt=0,
        le=30,
        description="Longest time in which a new socket must show its stream's token, in seconds; nobody vouches for it until then, and with its turn in a crowd and what closing takes it holds a place for 5",
    )
    stream_quiet_s: float = Field(
        10.0,
        gt=0,
        le=60,
        description="Longest time without a frame from Twilio, in seconds: it sends 50 a second, silence included, so the socket is half open then, and the call is led on",
    )
    stream_send_s: float = Field(
        5.0,
        gt=0,
        le=60,
        description="How long Twilio may take nothing of what is sent, in seconds; then the stream counts as broken",
    )
    stream_end_s: float = Field(
        30.0,
        gt=0,
        le=300,
        description="How long a stream that is over may take to end its part of the call, in seconds; a tool that is running is waited for meanwhile",
    )
    allow_unsigned: bool = Field(
        False,
        description="Take webhooks unchecked, with no TWILIO_AUTH_TOKEN, although others than this machine reach them",
    )
    strict_stream_signature: bool = Field(
        False, description="Refuse a media stream whose upgrade signature does not match"
    )
    fallback_number: str = Field(
        "", description="E.164 number that callers are put through to when the agent can't answer"
    )
    transfer_number: str = Field("", description="E.164 number for callers who ask for a person")

    # --- Deepgram
    deepgram_api_key: str = Field("", description="Deepgram key; empty: the local speech server")
    deepgram_base_url: str = Field(
        "https://api.deepgram.com", description="Deepgram base URL (WebSockets use the same host)"
    )
    stt_model: str = Field(
        "nova-3", description="Deepgram listen model; `flux-general-en` or `flux-general-multi` for Flux"
    )
    stt_language: str = Field("en-US", description="Language of the caller")
    stt_endpointing_ms: int = Field(
        300, ge=10, le=5000, description="Silence that ends a caller's turn, in ms"
    )
    stt_utterance_end_ms: int = Field(
        1000,
        ge=1000,
        le=5000,
        description="Gap between words that ends a turn when noise hides silence, in ms",
    )
    stt_keyterms: str = Field(
        "",
        description="Comma-separated words that recognition should favour; empty: the names of the demo's services, so name your own here",
    )
    flux_eot_threshold: float = Field(
        0.7,
        ge=0.5,
        le=1,
        description="How sure Flux must be that a turn is over, 0.5 to 1 (Deepgram's range); lower answers sooner and interrupts more who pause; at 1 only FLUX_EOT_TIMEOUT_MS ends turns",
    )
    flux_eager_eot_threshold: float | None = Field(
        None,
        ge=0.3,
        le=0.9,
        description="How sure Flux must be that a turn may be over, for the model to be asked in advance, 0.3 to 0.9 (Deepgram's range), at most FLUX_EOT_THRESHOLD; answers come sooner, for more requests, of which some are in vain; empty: none",
    )
    flux_eot_timeout_ms: int = Field(
        5000,
        ge=500,
        le=60000,
        description="Silence after which Flux ends a turn though it is not sure, in ms (Deepgram's range and default)",
    )
    flux_silence_after_ms: int = Field(
        500,
        ge=300,
        le=5000,
        description="How long the caller's frames may be away before Flux gets silence in their place, in ms: without audio it ends no turn; above the 200 ms that frames of a long quiet are held",
    )
    tts_model: str = Field("aura-2-thalia-en", description="Deepgram speak voice")
    stt_kept_s: float = Field(
        15.0,
        ge=10,
        le=60,
        description="How much of the caller's audio is kept for a new recognition socket, in seconds; what has become words for good is not",
    )
    stt_open_s: float = Field(
        2.0,
        gt=0,
        description="Longest handshake with recognition, in seconds: a good one takes a quarter of that",
    )
    stt_silence_s: float = Field(
        1.7,
        gt=0,
        description="Longest silence of recognition while the caller speaks, in seconds; Deepgram tells of its results about once a second",
    )
    stt_silence_most_s: float = Field(
        4.0,
        gt=0,
        description="Longest that this silence may become, in seconds: it is doubled with each socket that is silent too, as a line's noise may be loud without being words",
    )
    stt_stale_s: float = Field(
        2.0,
        gt=0,
        description="How long words may stay without an end of turn, in seconds; then recognition is asked for what it still holds",
    )
    stt_finalize_s: float = Field(
        1.0, gt=0, description="Longest wait for that answer, in seconds; then the words count as they stand"
    )
    stt_deaf_s: float = Field(
        1.5,
        gt=0,
        le=8,
        description="How long recognition may be away before the caller is told, in seconds; most losses are mended sooner",
    )
    stt_caught_up_s: float = Field(
        1.5,
        gt=0,
        le=8,
        description="How long a caller who was told that they can't be heard waits to hear that they can, in seconds: words that they said meanwhile may be about to come",
    )
    deepgram_send_s: float = Field(
        5.0,
        gt=0,
        description="Longest time in which a socket must take a text message, in seconds; audio and speech have timers of their own",
    )
    tts_open_s: float = Field(
        2.0,
        gt=0,
        description="Longest handshake with synthesis, in seconds: a good one takes a quarter of that",
    )
    tts_first_audio_s: float = Field(
        1.2,
        gt=0,
        le=7,
        description="Longest wait for a sentence's first audio, in seconds, before another way to a voice is tried; doubled each time for one that is only slow",
    )
    tts_stall_s: float = Field(
        0.3,
        gt=0,
        le=7,
        description="Longest pause in a sentence's audio when the caller is about to hear it, in seconds, before the rest is asked for again",
    )
    tts_ahead_s: float = Field(
        0.5,
        gt=0,
        le=5,
        description="How long before the caller would hear a gap a late voice is replaced, in seconds: what the next one takes to speak",
    )
    tts_slow_most: float = Field(
        6.0,
        ge=1,
        le=20,
        description="How many times as long as by these limits a voice is waited for at most, when those before were late too: it may be slow, not lost",
    )
    stt_fallback: str = Field(
        "",
        description="Who hears while Deepgram can't: `local`, or the URL of another server that speaks its protocol; empty: nobody",
    )
    stt_fallback_key: str = Field("", description="Key for STT_FALLBACK; empty: DEEPGRAM_API_KEY")
    stt_fallback_model: str = Field("", description="Listen model of STT_FALLBACK; empty: STT_MODEL")
    tts_fallback: str = Field(
        "",
        description="Who speaks while Deepgram can't: `local`, or the URL of another server that speaks its protocol; empty: nobody",
    )
    tts_fallback_key: str = Field("", description="Key for TTS_FALLBACK; empty: DEEPGRAM_API_KEY")
    tts_fallback_model: str = Field("", description="Voice of TTS_FALLBACK; empty: TTS_MODEL")

    # --- the model
    openai_api_key: str = Field("", description="OpenAI key; empty: the local receptionist")
    openai_base_url: str = Field(
        "https://api.openai.com/v1", description="Any server that speaks chat completions (Ollama, vLLM)"
    )
    llm_model: str = Field("gpt-4o", description="Chat model (gpt-4o is announced to end on 2027-01-14)")
    llm_fallback: str = Field(
        "",
        description="Who thinks while the model can't: `local`, or the URL of another server that speaks chat completions; empty: OPENAI_BASE_URL, with LLM_FALLBACK_MODEL",
    )
    llm_fallback_key: str = Field("", description="Key for LLM_FALLBACK; empty: OPENAI_API_KEY")
    llm_fallback_model: str = Field(
        "gpt-5.4-mini", description="Model asked when the first can't answer, or is not found; empty: none"
    )
    llm_temperature: float | None = Field(
        0.3, ge=0, le=2, description="Sampling temperature; empty for models that refuse it"
    )
    llm_max_tokens: int = Field(400, ge=1, description="Longest reply, in tokens")
    llm_first_token_s: float = Field(
        2.5,
        gt=0,
        le=30,
        description="Longest wait for the model's first token, in seconds; then another attempt begins, on the fallback if there is one. Half of LLM_BUDGET_S leaves time for it; no attempt begins with less than half of this left",
    )
    llm_stall_s: float = Field(
        2.0,
        gt=0,
        le=30,
        description="Longest silence of the model between two pieces of a reply, in seconds: what was said before it still plays meanwhile",
    )
    llm_budget_s: float = Field(
        5.0,
        gt=0,
        le=30,
        description="Longest wait for a reply's next sentence over all attempts, in seconds; then the caller hears an apology, which takes half a second to make and is wanted within 6 s",
    )
    llm_attempts: int = Field(
        5, ge=1, le=20, description="Most attempts at one reply; LLM_BUDGET_S is mostly used up before"
    )
    llm_pause_s: float = Field(
        0.25,
        gt=0,
        le=5,
        description="Pause before a second attempt on the same route, in seconds, less up to half by chance; doubled for each further one",
    )
    llm_reply_s: float = Field(30.0, gt=0, description="Longest reply over all attempts, in seconds")

    # --- vendors that fail (engine/routes.py)
    breaker_failures: int = Field(
        2,
        ge=1,
        description="Failures in a row after which all calls of a process take a vendor's fallback; one may be chance",
    )
    breaker_rest_s: float = Field(
        10.0,
        gt=0,
        description="How long such a vendor rests before a call tries it again, in seconds; doubled after each trial in vain",
    )
    breaker_rest_most_s: float = Field(
        60.0,
        gt=0,
        description="Longest rest, in seconds; also after a refusal that no repetition mends, such as a wrong key",
    )

    # --- state
    database_url: str = Field("", description="Postgres URL; empty: an embedded Postgres under .trunkline")
    redis_url: str = Field("", description="Redis URL; empty: an embedded Valkey under .trunkline")
    session_ttl_s: int = Field(
        3600, ge=60, description="How long a call's session stays in Redis after its last write, in seconds"
    )
    session_write_ms: int = Field(
        100, ge=5, description="Longest wait for a session write, in ms; then the call goes on unprotected"
    )
    postgres_timeout_s: float = Field(
        3.0,
        gt=0,
        le=30,
        description="Longest wait for a connection to Postgres, and for one statement of a tool's, in seconds; a caller is waiting",
    )
    log_spool_rows: int = Field(
        20_000,
        ge=100,
        description="Most rows of the call log that each process keeps while Postgres is away; then new ones are dropped and counted, ends of calls last. A busy call has up to 190 a minute: the default is two minutes of 64 such calls",
    )
    log_write_s: float = Field(
        10.0,
        gt=0,
        description="Longest wait for a batch of the call log, in seconds; nobody waits for it, and one that hangs is sent again",
    )
    ready_check_s: float = Field(
        5.0,
        gt=0,
        le=60,
        description="Longest time in which `/readyz` looks at each part that a call needs, in seconds; whoever balances load asks again",
    )
    redis_timeout_s: float = Field(
        2.0,
        gt=0,
        le=10,  # Twilio waits 15 s for a webhook, which may ask twice
        description="Longest wait for Redis where nobody speaks meanwhile (webhooks, slots), in seconds; after as long without an answer they no longer wait",
    )
    redis_look_s: float = Field(
        0.25,
        gt=0,
        le=10,
        description="While Redis is away, how often each process asks whether it is back, in seconds: calls are unprotected until then",
    )
    cache_wait_ms: int = Field(
        20,
        ge=1,
        le=1000,
        description="Longest wait for what the dealership's part keeps in Redis (callers, decoded VINs), in ms; then it is looked up again, which is what the wait should save",
    )
    outage_s: float = Field(
        120.0,
        ge=1,
        le=3600,
        description="Longest outage of Redis or Postgres after which calls that ended meanwhile are written whole, in seconds; their processes wait so long",
    )
    slot_lease_s: float = Field(
        10.0,
        gt=0,
        le=300,
        description="How long a call's slot outlives the replica that should renew it, in seconds: so long the capacity is less after a kill",
    )
    token_ttl_s: int = Field(60, ge=5, description="How long a stream's one-time token lives, in seconds")

    # --- the conversation
    greeting: str = Field(
        "",
        description="Greeting template; empty: the dealership's own. {name}, {dealership}, {car}, {service} are filled in",
    )
    system_prompt: str = Field(
        "", description="System prompt, or @path of a file with it; empty: the dealership's own"
    )
    dealership_name: str = Field("Trunkline Motors", description="Name that the agent answers with")
    timezone: str = Field(
        "America/Chicago",
        description="Time zone that a new workshop gets, and that the agent goes by while the records can't be reached; else the workshop's own counts",
    )
    console_statement_s: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="Longest statement of `python -m crm`, in seconds: lists of a large dealership, a batch of an import; nobody is on the telephone meanwhile",
    )
    crm: str = Field(
        "",
        description="Your own CRM, as `module:function`: what it makes of the settings is used for the dealership's records (crm/README.md); empty: Postgres",
    )
    barge_in_min_words: int = Field(2, ge=1, description="Words of an interim that interrupt the agent")
    backchannels: str = Field(
        "mm-hmm,mhm,uh-huh,mm,hmm,okay,ok,yeah,yep,right,sure,i see,got it",
        description="Comma-separated noises of a listener, which do not interrupt",
    )
    silence_prompt_s: float = Field(
        7.0,
        ge=1,
        le=8,  # dead air is never longer than 10 s, and what is then said takes a while to make
        description="Silence after which the caller is asked whether they are there, in seconds",
    )
    silence_prompts: int = Field(
        2, ge=0, le=5, description="How often a silent caller is asked before the goodbye"
    )
    filler_s: float = Field(
        0.9,
        gt=0,
        le=6,
        description="Silence in a turn after which the agent says that it is at work, in seconds; making the words takes another 0.2 s",
    )
    filler_again_s: float = Field(
        4.0,
        gt=0,
        le=8,  # dead air is never longer than 10 s
        description="The same when something was said in that turn already, in seconds: sooner would be chatter",
    )
    voice_wait_s: float = Field(
        8.0,
        gt=0,
        le=8,  # dead air is never longer than 10 s
        description="Longest silence in which a sentence is awaited from synthesis, in seconds; then the call goes on in a new stream, or is put through",
    )
    marks_wait_s: float = Field(
        2.0,
        gt=0,
        le=30,
        description="How late Twilio's mark for a sentence may be, in seconds after our clock's end of it; then it counts as played",
    )
    last_words_s: float = Field(
        30.0,
        gt=0,
        le=120,
        description="Longest wait for the last words to be heard before a hang-up or transfer, in seconds",
    )
    cleared_s: float = Field(
        1.0,
        gt=0,
        le=8,
        description="Longest wait to learn how much an interrupted caller had heard, in seconds: the answer waits for that",
    )
    keys_pause_s: float = Field(
        2.0, gt=0, le=10, description="Keys pressed within this time belong together, in seconds; # ends them"
    )
    max_call_s: float = Field(1800.0, ge=30, le=86400, description="Longest call, in seconds")
    playback_lead_ms: int = Field(
        300, ge=60, le=2000, description="How far ahead of the caller's ear Twilio is kept, in ms"
    )

    # --- tools
    tool_timeout_s: float = Field(8.0, gt=0, description="Longest wait for a tool, in seconds")
    tool_settle_s: float = Field(
        4.0,
        gt=0,
        le=20,
        description="Longest time after that in which it is found out whether a change was made, in seconds: the caller is told nothing before",
    )
    context_s: float = Field(
        1.5,
        gt=0,
        le=10,  # Twilio waits 15 s for the webhook
        description="Longest look-up of a caller while it rings, in seconds; then they are greeted as somebody unknown",
    )
    caller_cache_s: float = Field(
        900.0,
        ge=0,
        le=86400,
        description="How long what is known of a caller is kept in Redis for their next call, in seconds; 0: not at all. It is dropped when the record changes: this is for changes that nobody could tell",
    )
    changes_check_s: float = Field(
        5.0,
        gt=0,
        le=300,
        description="How often a tool process makes sure that it still hears of changes from Postgres, in seconds; until then a lost connection may look like a quiet one, and what it missed is said for as long",
    )
    tools_open_s: float = Field(
        10.0,
        gt=0,
        description="Longest time in which a ToolActor connects to Postgres, in seconds, before what is asked of it has failed; it tries again with the next",
    )
    tool_calls_per_turn: int = Field(8, ge=1, description="Most tool calls in one turn of the caller's")
    max_tool_calls: int = Field(
        60,
        ge=1,
        description="Most tool calls in one call; then the model is told so, and has to answer without: a caller's business takes ten, and a model in a loop makes hundreds",
    )
    trust_caller_id: Literal["attested", "always", "never"] = Field(
        "attested",
        description="When a caller's number is enough for what is on file: `attested`, if the carrier vouches for it; `always`, though it can be forged; `never`. Else a second fact is asked for",
    )
    tool_replicas: int = Field(2, ge=2, description="Least number of ToolActor replicas")
    tool_replicas_max: int = Field(4, ge=2, description="Most ToolActor replicas")
    nhtsa_base_url: str = Field(
        "https://vpic.nhtsa.dot.gov/api/vehicles", description="NHTSA vPIC base URL (no key needed)"
    )
    nhtsa_timeout_s: float = Field(
        2.0,
        gt=0,
        le=10,
        description="Longest wait for NHTSA, in seconds; it is tried twice while the caller waits, and the year is known without it",
    )

    # --- the cluster
    ingress_replicas: int = Field(
        2, ge=1, description="Ingress replicas; fixed, because HAProxy cuts calls when their number changes"
    )
    placement: Literal["split", "packed"] = Field(
        "split",
        description="Where conversations run: `split`, in CallHosts, and they outlive the death of one; `packed`, in the ingress itself, for the cheapest call",
    )
    calls_per_host: int = Field(
        64, ge=1, description="Calls that share one CallHost process; 1 gives each call its own"
    )
    spare_hosts: int = Field(
        1, ge=1, description="CallHosts that each ingress replica keeps warm for calls to come"
    )
    capacity: int = Field(
        45, ge=1, le=4000, description="Calls that the app takes at once, all ingress replicas together"
    )
    loop_lag_s: float = Field(
        2.0,
        gt=0,
        description="Serve replaces an ingress replica whose event loop was held up for longer, in seconds: its calls stood still",
    )
    sweep_s: float = Field(
        60.0,
        gt=0,
        description="How often calls whose process died are ended in the call log, in seconds; each sweep reads the open ones",
    )
    purge_s: float = Field(
        3600.0,
        gt=0,
        description="How often rows that are past their KEEP_..._DAYS are removed from the call log, in seconds; one replica at a time, in small batches, so that what has come due since is soon done",
    )
    drain_s: float = Field(
        600.0,
        ge=0,
        le=86400,
        description="How long running calls may go on when the app is stopped or replaced, in seconds",
    )

    # --- when something of ours fails (engine/supervision.py)
    call_tries: int = Field(
        3,
        ge=1,
        le=20,
        description="CallActors of one call that may fail in a row before it is put through; a fault that is no chance comes again",
    )
    call_steady_s: float = Field(
        10.0,
        gt=0,
        description="A CallActor that has run a call for so long has not failed in a row, in seconds",
    )
    host_steady_s: float = Field(
        2.0,
        gt=0,
        description="The same for one that was lost with its CallHost, in seconds; less, as that is seldom the call's doing",
    )
    hosts_per_call: int = Field(
        12,
        ge=1,
        description="CallHosts that one stream may lose in all: a call that ends its hosts ends others' calls too",
    )
    call_search_s: float = Field(
        5.0,
        gt=0,
        le=8,  # dead air is never longer than 10 s
        description="Longest time in which a call has no CallActor, in seconds; then it is put through",
    )
    attach_s: float = Field(
        10.0,
        gt=0,
        le=60,
        description="How long a new CallActor waits for its stream's answer, in seconds; no answer means that the call has gone on without it",
    )
    call_streams: int = Field(
        3, ge=0, le=20, description="New streams that one call is given after drops before it is put through"
    )
    host_start_s: float = Field(
        60.0, gt=0, description="Longest start of a CallHost, in seconds; a busy machine needs 20"
    )
    host_silent_s: float = Field(
        0.75,
        ge=0.3,
        le=5,  # dead air is never longer than 10 s
        description="How long a CallHost may answer no heartbeat, in seconds, while its replica's own loop runs; then its calls go on in another: shorter takes pauses for deaths, longer is heard",
    )
    host_again_s: float = Field(
        1.0, gt=0, description="Pause before another try when a CallHost could not be started, in seconds"
    )
    host_rest_s: float = Field(
        1.0,
        ge=0,
        description="How long no spare CallHost is started after one was lost, in seconds: its calls need the CPU",
    )
    host_empty_s: float = Field(
        30.0,
        gt=0,
        description="How long a CallHost without calls is kept beyond the spares, in seconds; a start costs one of CPU",
    )

    # --- prices, for what a call cost (call_log.cost_micros)
    price_tokens_in: float = Field(
        2.50,
        ge=0,
        le=10_000,
        description="Dollars for a million tokens that the model reads; the default is OpenAI's list price of gpt-4o, looked up in 2026",
    )
    price_tokens_cached: float = Field(
        1.25,
        ge=0,
        le=10_000,
        description="Dollars for a million of those that it had in its cache; the default is from the same list",
    )
    price_tokens_out: float = Field(
        10.00,
        ge=0,
        le=10_000,
        description="Dollars for a million tokens that the model writes; the default is from the same list",
    )
    price_recognition: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="Dollars for a minute of audio given to recognition; 0 until you set it: Deepgram's price depends on the plan, and no list of theirs could be read here",
    )
    price_speech: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="Dollars for a thousand characters spoken; 0 until you set it, for the same reason",
    )
    price_telephone: float = Field(
        0.0085,
        ge=0,
        le=1000,
        description="Dollars for a minute of an incoming call, which is charged when it begins; the default is Twilio's for a local number in the US (its help page on volume pricing), media streams not counted",
    )

    # --- privacy and observation
    tape_dir: str = Field(
        "", description="Directory for tapes of calls (they hold what was said); empty: none are made"
    )
    keep_transcripts_days: int = Field(
        30,
        ge=0,
        le=36500,
        description="How long what was said is kept in the call log, in days, 0: for ever; the most private part, so the shortest: long enough to look into a complaint",
    )
    keep_tool_runs_days: int = Field(
        90,
        ge=0,
        le=36500,
        description="How long runs of tools are kept, with what was asked for but no names or numbers, in days, 0: for ever",
    )
    keep_events_days: int = Field(
        90, ge=0, le=36500, description="How long events of calls are kept, in days, 0: for ever"
    )
    keep_metrics_days: int = Field(
        90, ge=0, le=36500, description="How long latencies are kept, in days, 0: for ever"
    )
    keep_usage_days: int = Field(
        90,
        ge=0,
        le=36500,
        description="How long it is kept what each request used, in days, 0: for ever; sums and cost stay with the call",
    )
    keep_calls_days: int = Field(
        365,
        ge=0,
        le=36500,
        description="How long calls are kept (number, times, outcome, cost), in days, 0: for ever; nothing else of a call outlives it",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log line that is written"
    )
    allow_local: bool = Field(False, description="Let local stand-ins answer although TWILIO_* is set")

    @field_validator(*SECRETS)
    @classmethod
    def _pasted(cls, value: str) -> str:
        value = value.strip()
        if not (value.isascii() and value.isprintable()) or " " in value:
            raise ValueError("has a character that is in no key: paste it again")
        return value

    @field_validator("base_url")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if value and (urlsplit(value).scheme not in {"http", "https"} or not urlsplit(value).netloc):
            raise ValueError(
                f"must be an absolute https URL, got {value!r}: set it to the address Twilio reaches, e.g. https://voice.example.com"
            )
        return value.rstrip("/")

    @field_validator("twilio_base_url", "deepgram_base_url", "openai_base_url", "nhtsa_base_url")
    @classmethod
    def _server(cls, value: str) -> str:
        if urlsplit(value).scheme not in {"http", "https"} or not urlsplit(value).hostname:
            raise ValueError(
                f"must be an http or https URL, got {value!r}: give the server's address, e.g. http://127.0.0.1:9001"
            )
        return value.rstrip("/")

    @field_validator("stt_fallback", "tts_fallback", "llm_fallback")
    @classmethod
    def _fallback(cls, value: str) -> str:
        if value in {"", "local"}:
            return value
        if urlsplit(value).scheme not in {"http", "https"} or not urlsplit(value).hostname:
            raise ValueError(
                f"must be `local` or an http or https URL, got {value!r}: e.g. https://api.eu.deepgram.com, or leave it empty"
            )
        return value.rstrip("/")

    @field_validator("database_url", "redis_url")
    @classmethod
    def _store(cls, value: str, info: ValidationInfo) -> str:
        known = {"database_url": ("postgresql", "postgres"), "redis_url": ("redis", "rediss", "unix")}[
            info.field_name or ""
        ]
        if value and urlsplit(value).scheme.partition("+")[0] not in known:
            raise ValueError(
                f"must begin with {known[0]}://, got {without_password(value)!r}: give the server's URL, or leave it empty for a local one"
            )
        return value

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"must name a time zone, got {value!r}: e.g. America/Chicago") from None
        return value

    @field_validator("crm")
    @classmethod
    def _importable(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", value):
            raise ValueError(f"must be module:function, got {value!r}: e.g. our_crm:make_records")
        return value

    @field_validator("fallback_number", "transfer_number")
    @classmethod
    def _number(cls, value: str) -> str:
        if value and not re.fullmatch(r"\+[1-9]\d{6,14}", value):
            raise ValueError(f"must be an E.164 number, got {value!r}: e.g. +13125550100")
        return value

    @field_validator("stt_model", "tts_model", "llm_model")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty: name a model, or leave the setting out for the default")
        return value

    @field_validator("system_prompt")
    @classmethod
    def _from_file(cls, value: str) -> str:
        if not value.startswith("@"):
            return value
        try:
            return Path(value[1:]).read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(
                f"names a file that can't be read ({error}): give a path after @, or the text itself"
            ) from None

    @field_validator("llm_temperature", "flux_eager_eot_threshold", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if bool(self.twilio_account_sid) != bool(self.twilio_auth_token):
            raise ValueError("TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN go together: set both or none")
        if (self.flux_eager_eot_threshold or 0) > self.flux_eot_threshold:
            raise ValueError("FLUX_EAGER_EOT_THRESHOLD is above FLUX_EOT_THRESHOLD: lower it or leave it out")
        if self.stt_model == "flux-general-en" and not self.stt_language.startswith("en"):
            raise ValueError(
                f"STT_MODEL flux-general-en hears English, and STT_LANGUAGE is {self.stt_language!r}: take flux-general-multi"
            )
        if self.tool_replicas_max < self.tool_replicas:
            raise ValueError("TOOL_REPLICAS_MAX is below TOOL_REPLICAS: raise it or leave it out")
        return self

    @property
    def hears_by_flux(self) -> bool:
        """Whether `stt_model` is one of Flux's."""
        return self.stt_model.startswith("flux")

    @property
    def listener_noises(self) -> frozenset[str]:
        """The backchannels, in lower case."""
        return frozenset(noise.strip().lower() for noise in self.backchannels.split(",") if noise.strip())


def load_settings(**overrides: object) -> Settings:
    """Reads the settings. Raises `SettingsError` with one line for each that is wrong."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(_sentences(error)) from None


def without_password(url: str) -> str:
    """A URL that may be shown."""
    return re.sub(r"//[^@/]*@", "//...@", url)


def _sentences(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"]).upper()
        what = str(item["msg"])
        if what.startswith("Value error, "):
            what = what.removeprefix("Value error, ")
        elif name:
            fallback = Settings.model_fields[name.lower()].default
            what = f"is {item['input']!r}, which won't do ({what.lower()}): the default is {fallback!r}"
        lines.append(f"{name} {what}".strip())
    return "\n".join(lines)
