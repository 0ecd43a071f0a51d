"""What a CallActor is made of: each part has a job of the conversation, and they share the call's record."""

from collections.abc import Callable
from dataclasses import dataclass

from actors.ending import Ending
from actors.hearing import Hearing
from actors.legs import Legs
from actors.llm import LlmActor, Model
from actors.replying import Brief, Replying
from actors.speaking import Speaking
from actors.toolruns import ToolRuns
from engine.actor import Actor, Ref
from engine.attempts import Patience
from engine.calllog import CallLog
from engine.clock import now
from engine.messages import CallerContext, CallInfo
from engine.record import CallRecord, Store
from engine.session import Stored
from engine.settings import Settings
from engine.tools import ToolSpec, engine_verbs, tool_schema
from engine.turns import Manners, TurnTaking


@dataclass(frozen=True)
class CallPorts:
    """Whom a CallActor knows. `tools` is told `ToolRequest` and answers its `reply_to` with `ToolResult`."""

    stream: Ref
    media: Ref
    stt: Ref
    store: Store
    model: Model
    log: CallLog
    tools: Callable[[Ref], Ref]
    specs: tuple[ToolSpec, ...]
    context: CallerContext  # where the session has none


@dataclass(frozen=True)
class CallParts:
    """The parts of one call's conversation."""

    record: CallRecord
    legs: Legs
    speaking: Speaking
    ending: Ending
    hearing: Hearing
    runs: ToolRuns
    replying: Replying
    turns: TurnTaking

    @classmethod
    def of(
        cls, actor: Actor, info: CallInfo, stored: Stored, ports: CallPorts, settings: Settings
    ) -> "CallParts":
        """The parts, whose messages and timers come back to `actor`. `stored` is the call's session."""
        context = stored.context or ports.context
        record, log = CallRecord(ports.store, info.call, stored), ports.log
        legs = Legs(log, info.call)
        speaking = Speaking(record, ports.media, log, legs)
        ending = Ending(
            record,
            ports.media,
            log,
            settings.transfer_number,
            {spec.name: spec.outcome for spec in ports.specs},
        )
        limits = settings.tool_calls_per_turn, settings.max_tool_calls
        runs = ToolRuns(info, record, ports.tools(actor), ports.specs, log, legs, *limits)
        tools = [tool_schema(spec) for spec in ports.specs]
        verbs = [tool_schema(verb) for verb in engine_verbs(bool(settings.transfer_number))]
        llm = LlmActor(ports.model, actor, record.epoch, Patience.of(settings), info.call)
        return cls(
            record,
            legs,
            speaking,
            ending,
            Hearing(speaking, ending, settings, actor.after),
            runs,
            Replying(
                record,
                Brief(context.prompt, [*tools, *verbs], verbs),
                actor.spawn(llm, "llm"),
                speaking,
                runs,
                ending,
                log,
                legs,
            ),
            TurnTaking(
                Manners(
                    settings.barge_in_min_words,
                    settings.listener_noises,
                    settings.silence_prompt_s,
                    settings.silence_prompts,
                    settings.filler_s,
                    settings.filler_again_s,
                ),
                now(),
            ),
        )
