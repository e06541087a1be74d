"""`python -m mvdefect`."""

from mvdefect.cli import main

main()
