"""``python -m noisylabels`` is the command line."""

from noisylabels.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
