"""What the engine itself says, where no model is asked."""

ARE_YOU_THERE = "Are you still there?"
SILENT_GOODBYE = "I can't hear you, so I will hang up now. Please call again. Goodbye."
FILLERS = ("One moment, please.", "I'm still working on it.", "Thank you for waiting, it won't be long.")
APOLOGY = "Sorry, something went wrong on my side. Could you say that again?"
LOST_THREAD = "Sorry, I lost my thread: please forget what I was saying. Could you say that again?"
CANT_HEAR = "I'm sorry, I can't hear you at the moment. Please hold on."
STILL_DEAF = "I still can't hear you. Please hold on."
HEARING_AGAIN = "I can hear you again. Please go on."
DEAF_GOODBYE = (
    "I'm sorry, I can't hear you, because of a fault on our side. Please call again later. Goodbye."
)
DEAF_DIALLING = (
    "I'm sorry, I can't hear you, because of a fault on our side, so I'm putting you through to someone else."
)
FILTERED = "I'm sorry, I can't help with that. What else can I do for you?"
FILTERED_MORE = "I'm sorry, I can't say more about that. What else can I do for you?"
FILTERED_MIDWAY = (
    "I'm sorry, I can't go on with that: please forget what I was saying. What else can I do for you?"
)
SHALL_I_GO_ON = "Shall I go on?"
CUT_OFF = "Sorry, we were cut off for a moment. Could you say that again?"
TOO_LONG = "I'm sorry, this call has reached its time limit. Please call again. Goodbye."
GOODBYE = "Goodbye."
TRANSFERRING = "I'll put you through now."
UNAVAILABLE = "Sorry, we can't go on with this call right now. Please call again in a few minutes. Goodbye."
UNAVAILABLE_DIALLING = (
    "Sorry, we can't go on with this call right now, so I'm putting you through to someone else."
)
KEYS_PRESSED = "[The caller pressed {keys} on the keypad.]"
