"""`poster-ml evaluate`: the full evaluation of one model, added to the run that made it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

from poster_ml.config import ExplainConfig, with_overrides
from poster_ml.errors import ConfigError, TrackingError
from poster_ml.evaluation.findings import finding_sentences
from poster_ml.evaluation.stats import with_interval
from poster_ml.pipeline.evaluate import EvaluationReport, evaluate_split, open_scored
from poster_ml.pipeline.explain import explain_split
from poster_ml.pipeline.records import evaluation_run, recorded_config, recorded_dataset
from poster_ml.pipeline.report import write_report
from poster_ml.pipeline.task import Task
from poster_ml.tracking.runs import fetched, find_run, run_of_model
from poster_ml.tracking.store import connect

# What may differ from the training's configuration: how much is measured, never what the model is.
SETTABLE = (
    *(f"evaluate.{name}" for name in ("bootstrap", "confidence", "appearance_posters")),
    *(f"explain.{field.name}" for field in fields(ExplainConfig)),
)
DIAGNOSTICS = ("_shortcut_", "_faithfulness_", "_pointing_")  # parts of their metrics' names


@dataclass(frozen=True)
class EvaluateResult:
    """What `evaluate` found."""

    run_id: str
    variant: str
    split: str
    posters: int
    metrics: dict[str, float]
    findings: list[str]

    def text(self) -> str:
        """Returns the numbers with their intervals, those of the diagnostics last, then the findings."""
        named = [name for name in self.metrics if not name.endswith(("_ci_low", "_ci_high"))]
        named.sort(key=lambda name: any(part in name for part in DIAGNOSTICS))
        lines = [f"  {name:<36} {with_interval(self.metrics, name, digits=4)}" for name in named]
        header = f"{self.variant} on {self.posters} {self.split} posters (run {self.run_id})"
        return "\n".join([header, *lines, *self.findings])


def run_evaluate(
    *,
    run: str = "",
    model_uri: str = "",
    data: Path | None = None,
    split: str = "test",
    overrides: Sequence[str] = (),
) -> EvaluateResult:
    """Evaluates the model of a run, or of a URI, on one split and logs it to the run that made the model.

    Args:
        run: id of a training run.
        model_uri: instead of `run`.
        data: a prepared dataset; None takes the one the run was trained on. Another one is logged to a run
            of its own, tagged `evaluated_run_id`.
        split: train, val or test.
        overrides: "key=value" for the keys of `SETTABLE`; the run gets them as tag `evaluation.<split>.set`.

    Raises: ConfigError, TrackingError, RegistryError, DatasetError.
    """
    if bool(run) == bool(model_uri):
        raise ConfigError(["give one of --run RUN_ID and --model-uri URI"])
    connect(write=True)
    record = find_run(run or run_of_model(model_uri))
    config = with_overrides(recorded_config(record), overrides, SETTABLE)
    dataset = recorded_dataset(record, data)
    dataset.verify()
    scored, reference = open_scored(record, config, dataset, {split, "val"}, model_uri)
    with evaluation_run(record, dataset, config) as logger, logger.results() as folder:
        result = evaluate_split(scored, split, folder, reference.combined if reference else None)
        evaluation = EvaluationReport(split, result, *explain_split(scored, split, folder, complete=True))
        with suppress(TrackingError), fetched(record.run_id, "curves/accuracy_loss.png") as file:
            (folder / "curves").mkdir()
            shutil.copy(file, folder / "curves")
        task = Task(config, dataset, record.tags.get("profile", "full"))
        write_report(folder, record.run_id, evaluation, task, record.tags.get("dataset.fingerprint", ""))
        logger.log_results(evaluation.metrics())
        logger.log_dataset(dataset, f"evaluation {split}")
        tag = f"evaluation.{split}.set"
        if overrides or tag in record.tags:  # an evaluation as recorded takes an older one's tag back
            logger.set_tags({tag: "; ".join(overrides)})
    return EvaluateResult(
        run_id=logger.run_id,
        variant=record.variant,
        split=split,
        posters=evaluation.result.posters,
        metrics=evaluation.metrics(),
        findings=finding_sentences(evaluation.result),
    )
