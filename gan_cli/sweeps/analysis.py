"""Former command `python -m gan_cli.sweeps.analysis`: see `__main__`."""

from gan_cli.sweeps.__main__ import main

if __name__ == "__main__":
    main()
