"""``python -m edgemtl``: the command line without the installed script."""

from edgemtl.cli import main

main()
