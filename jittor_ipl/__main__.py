"""`python -m jittor_ipl`."""
from jittor_ipl.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
