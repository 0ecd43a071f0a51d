"""Speech on this machine behind Deepgram's wire protocol: listen v1, speak v1 and speak over REST.

`speech_app` in `local.speech.app` takes two small ports (`local.speech.ports`) and speaks the protocol in
front of them. `python -m local.speech` serves real recognition and synthesis in a process of its own; nothing
here imports the speech models until they are asked for.
"""
