"""What the launcher says when it can't go on."""


class LaunchError(Exception):
    """Something outside is missing, taken or broken; the message says what, and what to do."""
