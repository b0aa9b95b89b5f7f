"""`python -m <package>` is the same as `recipe`."""

import sys

from .cli import main

sys.exit(main())
