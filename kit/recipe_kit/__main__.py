"""`python -m recipe_kit` is the same as `recipe`."""

import sys


def main() -> int:
    """The command line of the project that is here. Exit status 2 where there is none."""
    if sys.argv[1:2] == ["check"] and "--static" in sys.argv:
        from .report.ci import static

        return static(sys.argv[2:])
    try:
        from .cli import main as command
    except ImportError as error:
        if not (error.name or "").startswith(f"{__package__}.owner"):
            raise
        print(f"recipe: {error}", file=sys.stderr)
        return 2
    return command()


if __name__ == "__main__":
    sys.exit(main())
