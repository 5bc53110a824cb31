"""The one exception that means "the input is wrong": its text is for the user, a traceback would not help."""


class InputError(ValueError):
    """Bad input. The message names the thing, the value, and what is allowed instead.

    The command line and the pytest options print the message alone and exit with a code other than 0.
    """
