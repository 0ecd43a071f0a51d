"""Whole conversations with the receptionist, over its socket, with OpenAI's own SDK."""

import datetime as dt
import itertools
import json
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.chat import Outcome, Record, chat_app
from local.receptionist.brain import Receptionist
from local.receptionist.dialogue import answer
from local.serving import serving
from tests.local.dealership import KNOWN, NOT_VERIFIED, SHARED, TOOLS, TRANSFER, UNKNOWN, Calendar
from tests.processes import ended, listening

GREETING = {"role": "assistant", "content": "Thanks for calling Trunkline Motors. How can I help you today?"}


class Caller:
    """One call: says things, runs the tools that are called, and keeps what was said."""

    def __init__(self, client: openai.AsyncOpenAI, calendar: Calendar, prompt: str, tools: Any) -> None:
        self.client, self.calendar, self.tools = client, calendar, tools
        self.messages: list[Any] = [{"role": "system", "content": prompt}, GREETING]

    async def say(self, text: str) -> str:
        """Everything that is answered, tools run, until it is the caller's turn again."""
        self.messages.append({"role": "user", "content": text})
        heard = []
        for _ in range(10):
            message = await self.reply()
            heard.append(message.content or "")
            self.messages.append(
                message.model_dump(include={"role", "content", "tool_calls"}, exclude_none=True)
            )
            if not message.tool_calls:
                return " ".join(heard)
            for call in message.tool_calls:
                result = self.calendar.run(call.function.name, json.loads(call.function.arguments))
                content = json.dumps(result)
                self.messages.append({"role": "tool", "tool_call_id": call.id, "content": content})
            if message.tool_calls[0].function.name in ("end_call", "transfer_call"):
                return " ".join(heard)
        raise AssertionError(f"it calls tools without end: {self.calendar.ran}")

    async def reply(self) -> Any:
        async with self.client.chat.completions.stream(
            model="any", messages=self.messages, tools=self.tools
        ) as stream:
            return (await stream.get_final_completion()).choices[0].message


@asynccontextmanager
async def call(
    calendar: Calendar | None = None, prompt: str = KNOWN, tools: Any = TOOLS
) -> AsyncIterator[Caller]:
    async with (
        serving(chat_app(Receptionist(word_gap_s=0))) as server,
        openai.AsyncOpenAI(
            api_key="local", base_url=f"{server.http_url}/v1", max_retries=0, timeout=10
        ) as client,
    ):
        yield Caller(client, calendar or Calendar(), prompt, tools)


def booked(calendar: Calendar) -> list[tuple[str, str, str]]:
    return [(a["service"], a["date"], a["time"]) for a in calendar.appointments.values()]


async def test_a_whole_wish_in_one_sentence_is_booked_at_once() -> None:
    calendar = Calendar()
    async with call(calendar) as caller:
        heard = await caller.say("I need an oil change tomorrow at nine")
    assert "You're booked for an oil change on Wednesday, November twenty-fifth at nine o'clock." in heard
    assert calendar.ran == [
        (
            "book_appointment",
            {
                "service": "oil change",
                "date": "2026-11-25",
                "time": "09:00",
                "vehicle": "2022 Honda Civic",
                "name": None,
            },
        )
    ]


async def test_a_booking_takes_shape_over_several_turns() -> None:
    calendar = Calendar(("2026-11-27", "08:00"), ("2026-11-27", "08:30"))
    async with call(calendar) as caller:
        assert "What day" in await caller.say("Hi, I need an oil change")
        offered = await caller.say("Friday")
        assert "Let me check." in offered
        assert "On Friday, November twenty-seventh, I have nine, nine thirty or ten." in offered
        assert "You're booked" in await caller.say("the second one")
    assert booked(calendar) == [("oil change", "2026-11-27", "09:30")]


@pytest.mark.parametrize(
    ("words", "time"),
    [
        ("how about two thirty", "14:30"),
        ("nine", "09:00"),
        ("the last one", "09:00"),
        ("the first one please", "08:00"),
        ("any of them", "08:00"),
        ("two in the afternoon", "14:00"),
        ("could I do half past eleven", "11:30"),
    ],
)
async def test_a_time_may_be_chosen_in_many_ways(words: str, time: str) -> None:
    calendar = Calendar()
    async with call(calendar) as caller:
        await caller.say("What times do you have on Friday for an oil change?")
        assert "You're booked" in await caller.say(words)
    assert booked(calendar) == [("oil change", "2026-11-27", time)]


async def test_a_taken_slot_is_told_with_what_else_there_is() -> None:
    calendar = Calendar(("2026-11-25", "09:00"))
    async with call(calendar) as caller:
        heard = await caller.say("Can I book an oil change for tomorrow at nine?")
        assert "Nine o'clock is already taken. I have eight, eight thirty or nine thirty." in heard
        assert "You're booked" not in heard
        assert booked(calendar) == []
        assert "eight thirty" in await caller.say("the second one")
    assert booked(calendar) == [("oil change", "2026-11-25", "08:30")]


async def test_a_closed_day_is_told_and_another_asked_for() -> None:
    calendar = Calendar()
    async with call(calendar) as caller:
        heard = await caller.say("an oil change on Sunday please")
        assert "We are closed on Sundays. The next open day is Monday, November thirtieth." in heard
        assert "You're booked" in await caller.say("Monday at eight then")
    assert booked(calendar) == [("oil change", "2026-11-30", "08:00")]


async def test_other_times_are_offered_until_one_suits() -> None:
    calendar = Calendar()
    async with call(calendar) as caller:
        await caller.say("an oil change on Friday")
        assert "nine thirty, ten or ten thirty" in await caller.say("none of those")
        assert "eleven, eleven thirty or noon" in await caller.say("anything later?")
        assert "two, two thirty or three" in await caller.say("something after two")
        await caller.say("three")
    assert booked(calendar) == [("oil change", "2026-11-27", "15:00")]


async def test_the_soonest_is_looked_for_from_today_on() -> None:
    full = [("2026-11-24", f"{h:02}:{m}") for h in range(8, 17) for m in ("00", "30")]
    calendar = Calendar(*full)
    async with call(calendar) as caller:
        heard = await caller.say("What's the soonest you could do a tire rotation?")
    assert "On Wednesday, November twenty-fifth, I have eight" in heard


async def test_an_appointment_is_found_and_moved() -> None:
    calendar = Calendar()
    calendar.book_appointment("oil change", "2026-11-27", "09:00", None, None)
    async with call(calendar) as caller:
        heard = await caller.say("When is my appointment?")
        assert "You have an oil change on Friday, November twenty-seventh at nine o'clock." in heard
        heard = await caller.say("Please move it to Monday at ten")
    assert "Your oil change is now on Monday, November thirtieth at ten o'clock." in heard
    assert booked(calendar) == [("oil change", "2026-11-30", "10:00")]


async def test_the_right_one_of_two_appointments_is_moved() -> None:
    calendar = Calendar()
    calendar.book_appointment("oil change", "2026-11-27", "09:00", None, None)
    calendar.book_appointment("tire rotation", "2026-11-30", "10:00", None, None)
    async with call(calendar) as caller:
        assert "Which one do you mean" in await caller.say("I'd like to reschedule my appointment")
        assert "What day would suit you instead?" in await caller.say("the tire rotation")
        await caller.say("Wednesday at three")
        heard = await caller.say("and move the oil change from Friday to Thursday at eleven")
    assert "Your oil change is now on Thursday" in heard
    assert booked(calendar) == [
        ("oil change", "2026-11-26", "11:00"),
        ("tire rotation", "2026-11-25", "15:00"),
    ]


async def test_what_was_just_booked_can_be_altered() -> None:
    calendar = Calendar()
    async with call(calendar) as caller:
        await caller.say("an oil change tomorrow at ten")
        assert "now on Wednesday, November twenty-fifth at eleven" in await caller.say(
            "actually make it eleven"
        )
    assert booked(calendar) == [("oil change", "2026-11-25", "11:00")]


async def test_nothing_is_cancelled_before_the_caller_has_confirmed_which() -> None:
    calendar = Calendar()
    calendar.book_appointment("oil change", "2026-11-27", "09:00", None, None)
    async with call(calendar) as caller:
        heard = await caller.say("I want to cancel my appointment")
        assert "You have an oil change on Friday, November twenty-seventh at nine o'clock. Shall I" in heard
        assert "left it" in await caller.say("no")
        assert booked(calendar) != []
        await caller.say("cancel my Friday appointment")
        assert "is cancelled" in await caller.say("yes please")
    assert booked(calendar) == []


async def test_a_confirmation_that_was_cut_off_is_asked_again() -> None:
    calendar = Calendar()
    calendar.book_appointment("oil change", "2026-11-27", "09:00", None, None)
    async with call(calendar) as caller:
        await caller.say("cancel my appointment")
        caller.messages[-1]["content"] = "You have an oil"
        assert "Shall I cancel it?" in await caller.say("yes")
        assert booked(calendar) != []
        await caller.say("yes")
    assert booked(calendar) == []


async def test_prices_come_from_the_prompt_and_lead_to_a_booking() -> None:
    calendar = Calendar()
    async with call(calendar) as caller:
        heard = await caller.say("How much is a brake inspection?")
        assert "A brake inspection is eighty-nine dollars and takes about sixty minutes." in heard
        assert "battery check is free" in await caller.say("and how much is a battery check?")
        assert "What day" in await caller.say("yes please")
        await caller.say("tomorrow at noon")
    assert booked(calendar) == [("battery check", "2026-11-25", "12:00")]


async def test_a_spoken_vin_is_gathered_over_two_turns_and_decoded() -> None:
    calendar = Calendar()
    async with call(calendar) as caller:
        assert "seventeen" in await caller.say("Can I give you my VIN?")
        heard = await caller.say("two H G F E two, F five eight")
        assert "I have nine characters of seventeen." in heard
        heard = await caller.say("N as in Nancy, H, five one two, three four five")
    assert "That's a twenty twenty-two Honda Civic." in heard
    said = "two H G F E two, F five eight, N as in Nancy, H, five one two, three four five"
    assert calendar.ran == [("decode_vin", {"vin": said})]


async def test_a_caller_who_is_done_hears_goodbye_and_the_call_ends() -> None:
    for words in ("that's all, thank you", "Goodbye!", "no thanks, that's it", "thanks, have a nice day"):
        calendar = Calendar()
        async with call(calendar) as caller:
            assert "Goodbye." in await caller.say(words)
        assert calendar.ran == [("end_call", {})]


async def test_no_ends_the_call_only_after_anything_else() -> None:
    calendar = Calendar()
    async with call(calendar) as caller:
        await caller.say("oil change tomorrow at nine")
        await caller.say("no")
    assert [name for name, _ in calendar.ran] == ["book_appointment", "end_call"]


@pytest.mark.parametrize(
    ("words", "service", "guessed"),
    [
        ("I need an all change tomorrow at ten", "oil change", True),
        ("tire rotations tomorrow at ten", "tire rotation", False),
        ("a break inspection tomorrow at ten", "brake inspection", False),
        ("could you change the oil tomorrow at ten", "oil change", False),
        ("my brakes squeal, can I come tomorrow at ten", "brake inspection", True),
    ],
)
async def test_a_misheard_service_is_understood_and_confirmed_if_it_was_a_guess(
    words: str, service: str, guessed: bool
) -> None:
    calendar = Calendar()
    async with call(calendar) as caller:
        heard = await caller.say(words)
        assert ("Shall I book it?" in heard) == guessed
        if guessed:
            assert booked(calendar) == []
            await caller.say("yes")
    assert booked(calendar) == [(service, "2026-11-25", "10:00")]


async def test_a_guess_that_was_wrong_is_corrected() -> None:
    calendar = Calendar()
    async with call(calendar) as caller:
        await caller.say("I need an all change tomorrow at ten")
        await caller.say("no, a battery check")
    assert booked(calendar) == [("battery check", "2026-11-25", "10:00")]


async def test_an_unclear_service_is_asked_about() -> None:
    async with call() as caller:
        heard = await caller.say("I need an inspection on Friday")
        assert "Do you mean the brake inspection or the state inspection?" in heard
        assert "On Friday" in await caller.say("the state one")


async def test_muddle_is_asked_about_once_and_then_a_person_is_offered() -> None:
    calendar = Calendar()
    async with call(calendar, tools=[*TOOLS, TRANSFER]) as caller:
        first = await caller.say("purple monkey dishwasher")
        second = await caller.say("flub a dub")
        assert "didn't get that" in first
        assert "speak with a person?" in second
        assert "put you through" in await caller.say("yes")
    assert calendar.ran == [("transfer_call", {"reason": None})]


async def test_without_a_way_to_transfer_none_is_promised() -> None:
    async with call() as caller:
        await caller.say("purple monkey dishwasher")
        second = await caller.say("flub a dub")
        third = await caller.say("gargle")
        assert "service desk" in second
        assert len({second, third}) == 2
        assert "can't put you through" in await caller.say("let me talk to a human")


async def test_a_time_that_was_said_before_the_day_is_kept() -> None:
    calendar = Calendar()
    async with call(calendar) as caller:
        await caller.say("I need an oil change at nine")
        assert "You're booked" in await caller.say("Friday")
    assert booked(calendar) == [("oil change", "2026-11-27", "09:00")]


async def test_a_service_that_is_not_offered_is_answered_with_those_that_are() -> None:
    async with call() as caller:
        assert "What would you like to have done?" in await caller.say("I need a transmission on Friday")
        heard = await caller.say("tomorrow then")
        assert "I can book an oil change, a tire rotation" in heard
        assert "Which would you like?" in heard


async def test_asking_for_a_person_in_vain_does_not_lose_the_booking() -> None:
    calendar = Calendar()
    async with call(calendar) as caller:
        await caller.say("an oil change on Friday")
        await caller.say("can I speak to a manager please")
        await caller.say("okay then, nine")
    assert booked(calendar) == [("oil change", "2026-11-27", "09:00")]


async def test_muddle_in_the_middle_repeats_the_question_that_is_open() -> None:
    async with call() as caller:
        await caller.say("an oil change on Friday")
        heard = await caller.say("uh")
        assert heard == "Sorry, I didn't get that. I have eight, eight thirty or nine. Which would you like?"


async def test_it_says_what_it_is() -> None:
    async with call() as caller:
        for question in ("Are you a robot?", "Who am I talking to?", "are you a real person"):
            assert "I'm an automated receptionist working by rules on this machine." in await caller.say(
                question
            )


async def test_questions_on_the_side_do_not_lose_the_booking() -> None:
    calendar = Calendar()
    async with call(calendar) as caller:
        await caller.say("I'd like an oil change on Friday")
        assert "fifty-nine dollars" in await caller.say("how much is that?")
        assert "open Monday to Friday eight o'clock" in await caller.say("what are your hours?")
        await caller.say("okay, nine thirty")
    assert booked(calendar) == [("oil change", "2026-11-27", "09:30")]


async def test_an_unknown_caller_is_asked_for_a_name_before_booking() -> None:
    calendar = Calendar()
    async with call(calendar, UNKNOWN) as caller:
        assert "What name" in await caller.say("an oil change tomorrow at nine")
        assert "You're booked" in await caller.say("It's Jane O'Neil")
    assert calendar.appointments[1]["name"] == "Jane O'Neil"


async def test_a_known_callers_file_is_told() -> None:
    calendar = Calendar()
    async with call(calendar) as caller:
        heard = await caller.say("Which car do you have on file for me?")
    assert "with a twenty twenty-two Honda Civic." in heard
    assert "oil change on March fifteenth, twenty twenty-six" in heard


async def test_two_services_in_one_sentence_are_booked_one_after_the_other() -> None:
    calendar = Calendar()
    async with call(calendar) as caller:
        heard = await caller.say("an oil change and a tire rotation on Friday at nine")
        assert "What day would suit you for the tire rotation?" in heard
        await caller.say("Friday at ten")
    assert booked(calendar) == [
        ("oil change", "2026-11-27", "09:00"),
        ("tire rotation", "2026-11-27", "10:00"),
    ]


async def test_a_tool_that_failed_is_neither_retried_without_end_nor_told_as_a_success() -> None:
    class Broken(Calendar):
        def book_appointment(self, *_: Any, **__: Any) -> dict[str, Any]:
            return {"error": "timed out after 8 s"}

    calendar = Broken()
    async with call(calendar) as caller:
        heard = await caller.say("an oil change tomorrow at nine")
    assert "could not book that" in heard
    assert "timed out" not in heard
    assert len(calendar.ran) == 1


async def test_an_interrupted_answer_leaves_what_was_said_standing() -> None:
    calendar = Calendar()
    async with call(calendar) as caller:
        caller.messages += [
            {"role": "user", "content": "I need an oil change"},
            {"role": "assistant", "content": "What day"},
            {"role": "user", "content": "on Friday"},
        ]
        assert "You're booked" in await caller.say("at nine")
    assert booked(calendar) == [("oil change", "2026-11-27", "09:00")]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (("Nothing else.", "Thank you, the day."), "Goodbye"),
        (("Nothing else.", "Thank you. What are your hours?"), "We're open"),
    ],
)
async def test_a_goodbye_that_was_heard_in_two_parts_ends_the_call_unless_the_second_asks_for_more(
    parts: tuple[str, str], said: str
) -> None:
    async with call() as caller:
        await caller.say("an oil change on Friday at nine")
        caller.messages.append({"role": "user", "content": parts[0]})
        assert said in await caller.say(parts[1])


async def test_told_to_go_on_it_says_only_what_is_left() -> None:
    async with call() as caller:
        await caller.say("an oil change on Friday")
        whole = caller.messages[-1]["content"]
        caller.messages[-1]["content"] = "On Friday, November twenty-seventh, I have"
        go_on = "Go on after the words you have just said. Do not repeat them, and do not greet again."
        caller.messages.append({"role": "system", "content": go_on})
        rest = (await caller.reply()).content
    assert rest == "eight, eight thirty or nine. Which would you like?"
    assert whole.endswith(rest)


async def test_a_call_due_after_a_broken_off_sentence_is_still_made() -> None:
    async with call() as caller:
        caller.messages += [
            {"role": "user", "content": "oil change tomorrow at nine"},
            {"role": "assistant", "content": "Let me book"},
            {"role": "system", "content": "Go on after the words you have just said."},
        ]
        message = await caller.reply()
    assert message.content == "that for you."
    assert message.tool_calls[0].function.name == "book_appointment"


async def test_without_tools_it_admits_that_it_can_do_nothing() -> None:
    said = answer(
        [{"role": "system", "content": KNOWN}, {"role": "user", "content": "oil change tomorrow at nine"}],
        [],
        dt.date(2026, 11, 24),
    )
    assert "can't book anything" in said.text
    assert said.tool == ""


async def test_sentences_come_word_by_word_and_stop_when_the_client_leaves() -> None:
    record = Record()
    async with (
        serving(chat_app(Receptionist(word_gap_s=0.01), record)) as server,
        openai.AsyncOpenAI(
            api_key="local", base_url=f"{server.http_url}/v1", max_retries=0, timeout=10
        ) as client,
    ):
        messages: Any = [
            {"role": "system", "content": KNOWN},
            {"role": "user", "content": "what services do you offer?"},
        ]
        stream = await client.chat.completions.create(model="any", messages=messages, stream=True)
        words = []
        async with stream:
            async for chunk in stream:
                words += [chunk.choices[0].delta.content] if chunk.choices[0].delta.content else []
                if len(words) == 3:
                    break
        await record.until(lambda exchanges: exchanges[0].outcome is Outcome.LEFT)
    assert words == ["We", " do", " oil"]
    assert "state inspections" not in record.exchanges[0].text


async def test_no_digit_reaches_the_voice() -> None:
    async with call(Calendar(("2026-11-25", "09:00"))) as caller:
        for words in (
            "oil change tomorrow at 9",
            "the first one",
            "when is my appointment",
            "how much is a wheel alignment",
            "what are your hours",
            "oil change on Sunday",
        ):
            heard = await caller.say(words)
            assert not any(letter.isdigit() for letter in heard), heard


_UTTERANCES = st.sampled_from(
    [
        "oil change", "all change", "tomorrow", "friday at nine", "the first one", "yes", "no", "uh", "cancel it",
        "move my appointment", "when is my appointment", "how much is it", "my vin is 2HGFE2F58NH512345", "ten",
        "anything later", "none of those", "any", "next week", "are you a robot", "what was that", "who are you",
        "make it eleven", "the second one", "never mind", "what car do you have", "", "Sarah Mitchell", "sunday",
        "move it", "please cancel it", "a 2022 Honda", "no, I'd rather not", "book a new one",
    ]
)  # fmt: skip


_TROUBLES = st.sampled_from(
    [
        "",
        "no answer",
        '{"error": "It is not known whether this was done."}',
        '{"error": "This was not done. It may be tried again."}',
        '{"error": "turned out", "earlier": [{"booked": true, "appointment": {}}, {"cancelled": true}, 7]}',
        '{"found": true, "customer": {"vehicles": [3, {}]}, "next_free": {"times": [1]}, "slots": []}',
    ]
)


@given(
    st.lists(_UTTERANCES, min_size=1, max_size=8),
    st.sampled_from([KNOWN, UNKNOWN, NOT_VERIFIED, SHARED]),
    st.lists(_TROUBLES, min_size=1, max_size=3),
)
def test_no_conversation_breaks_it_or_makes_it_call_tools_without_end(
    utterances: list[str], prompt: str, troubles: list[str]
) -> None:
    calendar = Calendar(("2026-11-27", "09:00"), trusted=False)
    messages: list[dict[str, Any]] = [{"role": "system", "content": prompt}]
    trouble = itertools.cycle(troubles)
    for text in utterances:
        messages.append({"role": "user", "content": text})
        for _ in range(10):
            reply = answer(messages, TOOLS, dt.date(2026, 11, 24))
            assert reply.text
            if not reply.tool:
                messages.append({"role": "assistant", "content": reply.text})
                break
            result = next(trouble) or json.dumps(calendar.run(reply.tool, reply.arguments))
            call_id = f"call_{len(messages)}"
            function = {"name": reply.tool, "arguments": json.dumps(reply.arguments)}
            messages += [
                {
                    "role": "assistant",
                    "content": reply.text,
                    "tool_calls": [{"id": call_id, "type": "function", "function": function}],
                },
                {"role": "tool", "tool_call_id": call_id, "content": result},
            ]
            if reply.tool == "end_call":
                return
        else:
            raise AssertionError(f"tools without end after {text!r}: {calendar.ran[-3:]}")


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_breaks_it(first: str, second: str) -> None:
    messages = [{"role": "system", "content": KNOWN}]
    messages += [{"role": "user", "content": first}, {"role": "assistant", "content": second}]
    messages += [{"role": "user", "content": second}]
    assert answer(messages, TOOLS, dt.date(2026, 11, 24)).text


def client_of(port: int) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key="local", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0, timeout=10
    )


@pytest.mark.parametrize("how", ["sigterm", "stdin"])
async def test_as_a_process_it_says_its_port_answers_and_ends(how: str) -> None:
    async with listening("local.receptionist", "--port", "0", "--with-parent", stdin=PIPE) as (process, port):
        async with client_of(port) as client:
            heard = await Caller(client, Calendar(), KNOWN, TOOLS).say("oil change tomorrow at nine")
        assert "You're booked" in heard
        if how == "sigterm":
            process.terminate()
        else:
            assert process.stdin is not None
            process.stdin.close()
        assert await ended(process) == 0


async def test_without_with_parent_it_outlives_the_end_of_stdin() -> None:
    async with listening("local.receptionist") as (process, port):
        async with client_of(port) as client:
            assert await Caller(client, Calendar(), KNOWN, TOOLS).say("hello")
        process.terminate()
        assert await ended(process) == 0
