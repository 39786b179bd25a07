"""`python -m upsize`, the same as `upsize`."""

from upsize.cli import main

main()
