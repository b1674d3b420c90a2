"""`python -m poster_ml` is the same as `poster-ml`."""

from poster_ml.cli import main

if __name__ == "__main__":
    main()
