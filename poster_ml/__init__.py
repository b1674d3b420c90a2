"""poster-ml: does a poster tell whether critics will like the movie, and what in it does?"""

__version__ = "0.1.0"
