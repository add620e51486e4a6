"""Errors that are the user's to mend."""


class InputError(ValueError):
    """A setting, file or text that cannot be used: says what was expected, what was found, and how to mend it.

    The command line prints it in one line and exits with code 2; any other error is a defect and keeps its traceback.
    """
