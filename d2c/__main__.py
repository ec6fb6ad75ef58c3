"""`python -m d2c`: the same as the command `d2c`."""

from d2c.cli import command

command()
