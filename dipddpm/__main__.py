"""``python -m dipddpm`` is the command ``dipddpm``."""

from dipddpm.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
