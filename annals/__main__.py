"""`python -m annals` is the command `annals`."""

from annals.app.cli.main import main

main()
