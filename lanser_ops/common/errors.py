"""The one error that ends a command with exit status 2: its text is the line that the user sees."""


class InputError(ValueError):
    """Bad arguments or bad input, said in one line: what was wrong, where, and what to do."""
