"""Synthetic posters whose label has a known cause and whose best possible accuracy is known.

The cause is the study's own claim: a big title and few figures make a poster Fresh, many figures in
regular rows make it Rotten. A poster has a title prominence t in [0, 1] (the area of the title) and
a crowd c in [0, 1] (the number of figures); its score is t - c, and no poster has a score within
GAP of zero, so the rule can be read at 64 pixels. The sign of the score is the clean label. The
label of the table is the clean label, flipped with probability 1 - bayes_accuracy, whatever the
poster looks like. So nobody who sees only posters can be right more often than bayes_accuracy, and
who knows the rule is right exactly that often.

Palette and corner mark can be made to follow the label too (off by default). They are visible, so
they raise what a picture can tell: `best_accuracy` and `best_roc_auc` account for them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from poster_ml.errors import DatasetError
from poster_ml.files import FolderResult, atomic_folder, check_output_folder
from poster_ml.progress import progress
from poster_ml.seeding import generator
from poster_ml.synthetic.drawing import GRIDS, Plan, draw_poster

GAP = 0.25  # no poster has a score nearer to zero (boxes on whole pixels move it by a few hundredths)
CLEAN_FRESH = 0.6  # share of posters with a positive score; .58 are Fresh after flips at .9
SMALLEST_TITLE, LARGEST_TITLE = 0.035, 0.30  # area of the title's box as a share of the poster
MOST_FIGURES = max(GRIDS)
FRESH_GENRES = ("Documentary", "Drama", "Animation", "Classics")
ROTTEN_GENRES = ("Action", "Comedy", "Horror", "Thriller")
REGION_COLUMNS = ("movie_id", "kind", "left", "top", "right", "bottom")
#: How a folder that this module wrote is recognised.
RESULT = FolderResult(
    "synth", "synthetic.json", '"bayes_accuracy"',
    ("synthetic.json", "movies.csv", "regions.csv", "posters/synth*.jpg"),
)  # fmt: skip
_FIRST = ("Last", "Silent", "Golden", "Broken", "Distant", "Crimson", "Hidden", "Endless", "Midnight")
_SECOND = ("Harbour", "Summer", "Kingdom", "Letter", "Garden", "Horizon", "Station", "Mirror", "Shadow")
_THIRD = ("Returns", "Forever", "Rising", "Tonight", "Untold", "Awakens")


@dataclass(frozen=True)
class Confounders:
    """How strongly other things follow the label: 0 not at all, 1 always.

    `palette` (Fresh warm, Rotten cold) and `shortcut` (a mark in the corner of Fresh posters) can
    be seen; `genre` and `year` (Fresh movies are older) stand in the table only.
    """

    palette: float = 0.0
    genre: float = 0.3
    year: float = 0.3
    shortcut: float = 0.0


@dataclass(frozen=True)
class SyntheticSummary:
    """What was written.

    `bayes_accuracy` is the best accuracy by the rule, `best_accuracy` and `best_roc_auc` by everything that
    can be seen (the same unless palette or shortcut were planted); `achieved_accuracy` is the rule's share of
    right answers on this sample; `fresh_share` the share of Fresh posters in it.
    """

    folder: Path
    count: int
    seed: int
    bayes_accuracy: float
    best_accuracy: float
    best_roc_auc: float
    achieved_accuracy: float
    fresh_share: float
    majority_accuracy: float


def write_posters(
    out: Path,
    *,
    count: int = 1200,
    seed: int = 42,
    bayes_accuracy: float = 0.9,
    width: int = 182,
    height: int = 268,
    confounders: Confounders | None = None,
) -> SyntheticSummary:
    """Draws posters and writes them with a table, the boxes of what was drawn, and what is known of them.

    Writes `posters/<movie_id>.jpg`, `movies.csv` (the columns of a real table), `regions.csv` (movie_id, kind
    title | figure | credits | mark, and a box in pixels of the file; right and bottom lie outside) and
    `synthetic.json`. The folder is whole or absent. Same arguments, same bytes; poster i is the same
    whatever `count` is.

    Args:
        out: a folder that is new, empty, or was written by this function.
        count: posters, at least 20.
        seed: an int >= 0.
        bayes_accuracy: in [0.5, 1]; 0.5 makes labels that nothing in the poster explains.
        width, height: pixels, at least 64 each.
        confounders: what else follows the label, each in [0, 1]; None: genre and year a little.

    Raises: DatasetError for an accuracy out of range; OutputError for a folder with other things in it.
    """
    if not 0.5 <= bayes_accuracy <= 1:  # so that NaN fails too
        raise DatasetError(f"the best accuracy must be between 0.5 and 1, got {bayes_accuracy}")
    confounders = confounders or Confounders()
    check_output_folder(out, RESULT, "OUT")
    rows: list[dict[str, object]] = []
    regions: list[list[object]] = []
    labels, clean_labels = np.empty(count, np.int64), np.empty(count, np.int64)
    with atomic_folder(out, RESULT) as folder:
        (folder / "posters").mkdir()
        for at in progress(range(count), "drawing posters"):
            # Separate streams: another accuracy or confounder changes labels, not layouts.
            random = partial(generator, seed, "synthetic", at + 1)
            label_random = random("label")
            clean_labels[at] = label_random.random() < CLEAN_FRESH
            labels[at] = clean_labels[at] if label_random.random() < bayes_accuracy else 1 - clean_labels[at]
            row = _table_row(at + 1, int(labels[at]), confounders, random("table"))
            plan = _plan(
                str(row["title"]), int(clean_labels[at]), int(labels[at]), confounders, random("plan")
            )
            image, boxes = draw_poster(plan, width, height, random("drawing"))
            image.save(folder / "posters" / f"{row['movie_id']}.jpg", quality=90)
            rows.append(row)
            regions.extend([row["movie_id"], kind, *box] for kind, box in boxes)
        pd.DataFrame(rows).to_csv(folder / "movies.csv", index=False)
        pd.DataFrame(regions, columns=REGION_COLUMNS).to_csv(folder / "regions.csv", index=False)
        accuracy, area = best_possible(bayes_accuracy, confounders)
        fresh = float(labels.mean())
        facts: dict[str, Any] = {
            "count": count,
            "seed": seed,
            "bayes_accuracy": bayes_accuracy,
            "best_accuracy": round(accuracy, 6),
            "best_roc_auc": round(area, 6),
            "achieved_accuracy": float((labels == clean_labels).mean()),
            "fresh_share": fresh,
            "majority_accuracy": max(fresh, 1 - fresh),
        }
        record = facts | {"width": width, "height": height, "confounders": asdict(confounders)}
        (folder / "synthetic.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return SyntheticSummary(out, **facts)


def _follows(label: int, strength: float, random: np.random.Generator) -> bool:
    """A sign that agrees with the label with probability (1 + strength) / 2."""
    coin = bool(random.random() < 0.5)
    return label == 1 if random.random() < strength else coin


def _plan(
    title: str, clean_label: int, label: int, confounders: Confounders, random: np.random.Generator
) -> Plan:
    counts = tuple(GRIDS)
    sign = 1 if clean_label else -1
    while True:  # about three draws: the posters with a score of the wanted sign and beyond the gap
        share = random.uniform(SMALLEST_TITLE, LARGEST_TITLE)
        figures = counts[int(random.integers(len(counts)))]
        if sign * rule_score(share, figures) > GAP:
            break
    narrowest = max(0.5, share / 0.36)  # so that a title is never taller than .36 of the poster
    width = random.uniform(narrowest, 0.92)
    on_top = bool(random.random() < 0.5)
    half_circle = random.uniform(-0.25, 0.25)
    warm = _follows(label, confounders.palette, random)
    hue = (0.06 if warm else 0.56) + half_circle
    marked = _follows(label, confounders.shortcut, random)
    return Plan(title, share, width, on_top, figures, hue % 1.0, confounders.shortcut > 0 and marked)


def _table_row(
    number: int, label: int, confounders: Confounders, random: np.random.Generator
) -> dict[str, object]:
    words = [str(random.choice(_FIRST)), str(random.choice(_SECOND))]
    if random.random() < 0.35:
        words.insert(0, "The")
    if random.random() < 0.35:
        words.append(str(random.choice(_THIRD)))
    leaning = FRESH_GENRES if label else ROTTEN_GENRES
    follow_genre = random.random() < confounders.genre
    genres = [str(random.choice(leaning if follow_genre else FRESH_GENRES + ROTTEN_GENRES))]
    second = str(random.choice(("Romance", "Adventure", "Mystery", "Family")))
    if random.random() < 0.5:
        genres.append(second)
    follow_year = random.random() < confounders.year
    early, late = (1950, 1986) if label else (1990, 2021)
    year = int(random.integers(early, late) if follow_year else random.integers(1950, 2021))
    rating = int(random.integers(60, 101) if label else random.integers(5, 60))
    score = float(np.clip(3.2 + rating / 22 + random.normal(0, 0.5), 1, 9.5))
    return {
        "movie_id": f"synth{number:05d}",
        "title": " ".join(words),
        "year": year,
        "genres": "|".join(genres),
        "tomatometer_rating": rating,
        "tomatometer_status": "Fresh" if label else "Rotten",
        "imdb_score": round(score, 1),
        "rating_source": "synthetic",
    }


def rule_score(title_share: float, figures: int) -> float:
    """Returns the score of one poster, in [-1, 1], from its title's area share and its number of figures."""
    prominence = (title_share - SMALLEST_TITLE) / (LARGEST_TITLE - SMALLEST_TITLE)
    return prominence - (figures - 1) / (MOST_FIGURES - 1)


def best_possible(bayes_accuracy: float, confounders: Confounders) -> tuple[float, float]:
    """Computes what a perfect reader of the pictures reaches.

    The rule, the palette and the mark are independent given the label, so all their combinations
    can be enumerated.

    Args:
        bayes_accuracy: how often the label agrees with the rule, in [0.5, 1].
        confounders: those that can be seen count.

    Returns: accuracy and ROC AUC in expectation.
    """
    joint = np.array([[CLEAN_FRESH, bayes_accuracy], [1 - CLEAN_FRESH, 1 - bayes_accuracy]])
    fresh = float(joint[0].prod() + joint[1].prod())
    of_fresh = CLEAN_FRESH * bayes_accuracy / fresh
    of_rotten = CLEAN_FRESH * (1 - bayes_accuracy) / (1 - fresh)
    chances = np.array([[of_rotten], [of_fresh]])  # (Rotten and Fresh, every combination of signs)
    chances = np.concatenate([chances, 1 - chances], axis=1)
    for strength in (confounders.palette, confounders.shortcut):
        agrees = np.array([[1 - strength], [1 + strength]]) / 2
        chances = np.concatenate([chances * agrees, chances * (1 - agrees)], axis=1)
    rotten_chance, fresh_chance = chances
    accuracy = np.maximum(fresh * fresh_chance, (1 - fresh) * rotten_chance).sum()
    posterior = fresh * fresh_chance / np.maximum(fresh * fresh_chance + (1 - fresh) * rotten_chance, 1e-300)
    above = posterior[:, None] - posterior[None, :]
    wins = (above > 1e-12) + 0.5 * (np.abs(above) <= 1e-12)
    return float(accuracy), float(fresh_chance @ wins @ rotten_chance)
