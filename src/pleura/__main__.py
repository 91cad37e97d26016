"""`python -m pleura`."""

from pleura.cli import main

main()
