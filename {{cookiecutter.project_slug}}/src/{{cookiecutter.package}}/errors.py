"""The one exception a user may cause."""


class UserError(Exception):
    """A mistake that its owner can mend: one sentence with what, where, the value seen and what to do.

    `cli.main` prints it and exits with status 2. Anything else that escapes is a bug of ours and keeps its traceback.
    """
