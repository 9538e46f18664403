"""`python -m archetype` is `archetype`."""

from archetype.cli.main import main

main()
