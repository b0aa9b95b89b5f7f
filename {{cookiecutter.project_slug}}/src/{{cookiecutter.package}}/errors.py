"""The exceptions that are not bugs: a mistake its owner can fix, and a signal."""


class UserError(Exception):
    """A mistake that its owner can fix: one sentence with what, where, the value seen and what to do.

    `cli.main` prints it and exits with status 2. Anything else that escapes is a bug of ours and keeps its traceback.
    """

    def __str__(self) -> str:
        return super().__str__().replace("\n", "\\n")  # the name of a file or a column may hold one


class Stopped(Exception):
    """Training was stopped by a signal after saving; exit status is 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.status = 128 + number


def first_line(error: BaseException) -> str:
    """What a library said in its first line, cut at 200 characters; the kind of error where it said nothing."""
    return (str(error).strip() or type(error).__name__).split("\n")[0][:200]
