"""The rule behind synthetic posters, computed from what was drawn."""

import pandas as pd

from poster_ml.synthetic.writing import rule_score


def score_regions(regions: pd.DataFrame, width: int, height: int) -> pd.Series:
    """The score per movie_id from the boxes in `regions.csv`; positive means Fresh by the rule."""
    title = regions[regions["kind"] == "title"].set_index("movie_id")
    share = (title["right"] - title["left"]) * (title["bottom"] - title["top"]) / (width * height)
    figures = regions[regions["kind"] == "figure"].groupby("movie_id").size()
    return rule_score(share, figures.reindex(share.index))
