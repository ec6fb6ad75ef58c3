"""`python -m d2c`: the same as the command `d2c`."""

import sys

from d2c.cli import main

sys.exit(main())
