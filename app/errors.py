"""What can go wrong that a person can mend; every message is one sentence that says what to do next."""


class DemoError(Exception):
    """Base of all errors shown to a person. `code` is stable and meant for scripts, `message` is one sentence."""

    code = "error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadInput(DemoError):
    """The text, file or request cannot be used as it is."""

    code = "bad_input"


class BadCheckpoint(DemoError):
    """The checkpoint folder cannot be loaded."""

    code = "bad_checkpoint"


class BadConfig(DemoError):
    """An option has a value that cannot work."""

    code = "bad_config"


class ContextFull(DemoError):
    """The turn does not fit behind the conversation; dropping the oldest turns would make room."""

    code = "context_full"


class OutOfMemory(DemoError):
    """The device cannot hold the turn."""

    code = "out_of_memory"


class SessionBusy(DemoError):
    """A reply is still being made in this session."""

    code = "session_busy"


class SessionGone(DemoError):
    """The session expired or never was."""

    code = "session_gone"
