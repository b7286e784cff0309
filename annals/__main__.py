"""`python -m annals` is the command `annals`."""

from annals.cli.main import main

main()
