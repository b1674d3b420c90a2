"""Numbers as sentences that a person understands without being told what a logit is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

SURPRISING = 2.0  # standard deviations of the boxes elsewhere, from which on a box stands out

Row = Mapping[str, Any]


def percent(share: float) -> str:
    """Returns for example "64 %"; never 0 % or 100 % for what is neither."""
    if 0.0 < share < 0.01:
        return "under 1 %"
    if 0.99 < share < 1.0:
        return "over 99 %"
    return f"{share:.0%}".replace("%", " %")


def points(change: float) -> str:
    """Returns a change of a probability in percentage points, for example "+6 points" or "no change"."""
    whole = round(100 * change)
    if whole == 0:
        return "no change"
    return f"{whole:+d} point{'' if abs(whole) == 1 else 's'}".replace("-", "\N{MINUS SIGN}")


def similar(row: Row) -> str:
    """Says what became of posters that scored like this one; "" where that is unknown."""
    if row.get("similar_share") is None:
        return ""
    low, high = percent(row["similar_share_ci_low"]), percent(row["similar_share_ci_high"])
    share = percent(row["similar_share"])
    return (
        f"Of {row['similar_count']} posters that scored like this one, {share} were Fresh ({low} to {high})."
    )


def with_metadata(row: Row) -> str:
    """Says what year and genres say alone and what the poster adds; "" where neither is known."""
    if row.get("probability_combined") is None:
        return ""
    alone, together = percent(row["probability_metadata"]), percent(row["probability_combined"])
    change = points(row["poster_effect"])
    return (
        f"Movies like it by year and genres, as far as known, are Fresh in {alone} of cases; with "
        f"this poster it is {together} ({change})."
    )


def hidden_box(found: Row) -> str:
    """Says what hiding a box does, beside what boxes of its size do elsewhere on the poster."""
    change = points(found["change"])
    if found["elsewhere_mean"] is None:
        return f"Without this part: {change}. The box leaves no room for others of its size to compare with."
    away = found["change"] - found["elsewhere_mean"]
    spread = max(found["elsewhere_spread"], 0.005)  # half a point: below that nobody would see a change
    usual = (
        f"hiding {found['elsewhere']} other places of this size changes it by "
        f"{points(found['elsewhere_mean'])} on average, give or take {100 * found['elsewhere_spread']:.0f}"
    )
    if math.fabs(away) < SURPRISING * spread:
        return f"Without this part: {change}. That is nothing special: {usual}."
    return f"Without this part: {change}. That is more than chance: {usual}."


def design_pair(pair: Row, higher: str, lower: str) -> str:
    """Says of two designs whether they are told apart, and what such a difference has been worth."""
    if pair["share"] is None or not pair["told_apart"]:
        said = "cannot be told apart: between movies, a difference this small has meant nothing."
        return f"{higher} and {lower} {said}"
    low, high = percent(pair["share_ci_low"]), percent(pair["share_ci_high"])
    return (
        f"{higher} before {lower}: in {pair['count']:,} pairs of comparable movies with at least this "
        f"difference, the one ahead was the Fresh one in {percent(pair['share'])} ({low} to {high})."
    )
