"""A receptionist that works by rules on this machine, behind OpenAI's protocol.

It keeps no state: what it says follows from the messages, the tools and the system prompt of each request.
"""
