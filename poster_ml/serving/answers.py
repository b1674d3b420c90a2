"""What one row is told beside the poster's own probability.

| asked by | columns |
|---|---|
| columns `year`, `genres` | `probability_metadata, probability_combined, poster_effect, note` |
| `explain` | `cam_png`: a class activation map over the poster, base64 of a PNG |
| `evidence` | `similar_share` and its `_ci_low`, `_ci_high`, `similar_count` |
| `evidence`, of an ensemble | also `members_low`, `members_high` |
| `rank` | `rank`, `pairs` (`Reference.rank`) |
| `neighbours` | `neighbours`: the most alike training posters (`Neighbours.nearest`) |
| `what_if` | `what_if`: a dict per box (`explain.what_if.WhatIf`) |
"""

from __future__ import annotations

import base64
import io
import math
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from scipy.special import expit

from poster_ml.errors import RequestError
from poster_ml.evaluation.calibration import logit
from poster_ml.serving.movie_facts import read_facts
from poster_ml.serving.options import RequestOptions
from poster_ml.serving.quantize import QuantizedNetwork
from poster_ml.serving.reference import Reference
from poster_ml.serving.settings import METADATA_COLUMNS

if TYPE_CHECKING:
    from poster_ml.explain.likeness import PooledFeatures
    from poster_ml.explain.maps import Explainer
    from poster_ml.serving.pyfunc import PosterModel

_SIMILAR = ("similar_share", "similar_share_ci_low", "similar_share_ci_high", "similar_count")
_MEMBERS = ("members_low", "members_high")
_NO_METADATA = "year and genres were ignored: this model was trained without them"


class Answers:
    """Answers for one served model; what needs the network's inside is made by the first request for it.

    Args:
        model: prepared, or about to be.
        reference: what the model was logged with, None where it was logged without.
    """

    def __init__(self, model: PosterModel, reference: Reference | None) -> None:
        self._model = model
        self._reference = reference
        self._combined = reference.combined if reference else None

    def genres(self) -> frozenset[str]:
        """Returns the genres that the model knows; none where it was logged without."""
        return self._combined.genres if self._combined else frozenset()

    def check(self, options: RequestOptions) -> None:
        """Raises RequestError where this model cannot answer what a request asks."""
        if isinstance(self._model.network, QuantizedNetwork) and (options.explain or options.neighbours):
            lacking = "draws no maps" if options.explain else "knows no neighbours"
            raise RequestError(f"a quantized model {lacking}: ask the model that it was made from")
        reference = self._reference
        if (options.evidence or options.rank) and reference is None:
            asked = "evidence" if options.evidence else "rank"
            raise RequestError(
                f"this model was logged without validation posters, which {asked} needs: train it again"
            )
        if options.neighbours and (reference is None or reference.neighbours is None):
            raise RequestError("this model was logged without its training posters' features: train it again")

    def columns(self, options: RequestOptions) -> list[str]:
        """Returns the columns that the options add, in order."""
        return [
            *(["cam_png"] if options.explain else []),
            *([*_SIMILAR, *(_MEMBERS if self._members else ())] if options.evidence else []),
            *(["rank", "pairs"] if options.rank else []),
            *(["neighbours"] if options.neighbours else []),
            *(["what_if"] if options.what_if else []),
        ]

    def of_pixels(self, pixels: np.ndarray, options: RequestOptions) -> list[dict[str, Any]]:
        """Answers what needs the posters themselves, (B, S, S, 3) uint8: one dict per poster."""
        found: list[dict[str, Any]] = [{} for _ in pixels]
        if options.explain:
            _put(found, "cam_png", self._maps(pixels))
        if options.neighbours and self._reference and self._reference.neighbours:
            with self._model.forward.lock:
                features = self._features(pixels)
            _put(found, "neighbours", self._reference.neighbours.nearest(features, options.neighbours))
        if options.what_if:
            from poster_ml.explain.what_if import what_if

            hidden = [what_if(self._model.probabilities, image, options.what_if) for image in pixels]
            _put(found, "what_if", [[asdict(one) for one in boxes] for boxes in hidden])
        if options.evidence and self._members:
            for name, ends in zip(_MEMBERS, self._band(pixels), strict=True):
                _put(found, name, ends.tolist())
        return found

    def add(
        self,
        rows: list[dict[str, Any]],
        facts: dict[str, list[Any]],
        names: list[Any],
        options: RequestOptions,
    ) -> None:
        """Answers what needs probabilities only, and writes it into the rows of a whole request, where known.

        Args:
            rows: of `PosterModel`, with `probability_fresh`.
            facts: the cells of `year` and `genres`, one per row.
            names: of the rows, as the answer's index has them.
            options: what was asked.
        """
        values = [row["probability_fresh"] for row in rows]
        probabilities = np.array([math.nan if value is None else value for value in values])
        self._add_metadata(rows, facts, probabilities)
        reference = self._reference
        if reference is None:
            return
        logits = logit(probabilities)  # NaN stays
        if options.evidence:
            for row, value in zip(rows, logits.tolist(), strict=True):
                row.update({} if math.isnan(value) else reference.similar(value))
        if options.rank:
            for row, found in zip(rows, reference.rank(logits, names), strict=True):
                row.update(found)

    def _add_metadata(
        self, rows: list[dict[str, Any]], facts: dict[str, list[Any]], poster: np.ndarray
    ) -> None:
        if all(cell is None for cells in facts.values() for cell in cells):
            return  # nothing was told, as in most requests: no table is made for it
        combined = self._combined
        table, notes = read_facts(facts["year"], facts["genres"], self.genres())
        if combined is None:
            given = table["year"].notna() | (table["genres"] != "")
            for row, known, note in zip(rows, given, notes, strict=True):
                row["note"] = _NO_METADATA if known or note else None
            return
        scored = np.isfinite(poster)
        alone, together = combined.probabilities(table, np.where(scored, poster, 0.5))
        together[~scored] = math.nan
        numbers = np.column_stack([alone, together, together - alone]).tolist()
        for row, values, note in zip(rows, numbers, notes, strict=True):
            cells = [None if math.isnan(value) else value for value in values]
            row.update(zip(METADATA_COLUMNS, [*cells, note], strict=True))

    @cached_property
    def _explainer(self) -> Explainer:
        from poster_ml.explain.maps import Explainer

        settings = self._model.settings
        where = {"method": settings.explain_method, "layer_name": settings.explain_layer}
        return Explainer(self._model.network, **where)

    @cached_property
    def _features(self) -> PooledFeatures:
        from poster_ml.explain.likeness import PooledFeatures

        return PooledFeatures(self._model.network)

    @cached_property
    def _members(self) -> list[tuple[Any, float]]:
        from poster_ml.models.ensemble import ensemble_members

        network = self._model.network
        return [] if isinstance(network, QuantizedNetwork) else ensemble_members(network)

    def _maps(self, pixels: np.ndarray) -> list[str]:
        from poster_ml.explain.sheets import overlay

        with self._model.forward.lock:
            maps = self._explainer.explain(pixels)
        return [_png(overlay(poster, heat)) for poster, heat in zip(pixels, maps, strict=True)]

    def _band(self, pixels: np.ndarray) -> np.ndarray:
        """Returns the lowest and the highest probability over the members of an ensemble, (2, B).

        A member's factor is its share of the sum, calibrated: times their number it speaks for all of them.
        """
        with self._model.forward.lock:
            logits = [
                np.asarray(member.predict_on_batch(pixels))[:, 0] * weight for member, weight in self._members
            ]
        each = expit(np.stack(logits) * len(logits) / self._model.settings.temperature)  # (members, B)
        return np.stack([each.min(axis=0), each.max(axis=0)])


def _put(rows: list[dict[str, Any]], name: str, values: list[Any]) -> None:
    for row, value in zip(rows, values, strict=True):
        row[name] = value


def _png(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
