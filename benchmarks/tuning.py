"""Tuning against its alternatives: TPE against random search, pruning against none, and against a naive loop.

    python -m benchmarks.tuning                      # on the surrogate: about two minutes
    python -m benchmarks.tuning --posters DATASET    # and trials per hour with real training
    python -m benchmarks.tuning --repeats 0 --posters DATASET --keep    # the search stays in ./mlflow.db

The surrogate is stated in `tests/tuning/surrogates.py`: the best AUC is known, so is the regret.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import optuna

from poster_ml.search_space import parse_space
from poster_ml.tuning.space import suggest
from poster_ml.tuning.study import make_pruner, make_sampler
from tests.tuning.surrogates import BEST_AUC, SPACE, curve, landscape

STARTUP, PRUNE_AFTER = 8, 3  # as `StudySpec` has them


def search(sampler: str, pruner: str, trials: int, epochs: int, seed: int) -> tuple[float, int]:
    """Returns the regret (AUC below the best possible) of the best trial's settings, and the epochs taken."""
    space = parse_space(SPACE, "surrogate")
    study = optuna.create_study(direction="maximize", pruner=make_pruner(pruner, epochs, PRUNE_AFTER))
    taken = 0
    for number in range(trials):
        study.sampler = make_sampler(sampler, seed * 1000 + number, STARTUP, seed)
        trial = study.ask()
        overrides = suggest(trial, space)
        values = curve(overrides, epochs, seed * 1000 + number)
        for epoch, value in enumerate(values, start=1):
            taken += 1
            trial.report(value, epoch)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            trial.set_user_attr("truth", landscape(overrides))
            study.tell(trial, max(values))
    return BEST_AUC - study.best_trial.user_attrs["truth"], taken


def middle(values: np.ndarray, seed: int = 0) -> str:
    """Median with its 95 % bootstrap interval."""
    draws = np.random.default_rng(seed).choice(values, (2000, len(values)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return f"{np.median(values):.4f} ({low:.4f} to {high:.4f})"


def compare_searches(repeats: int, trials: int, epochs: int) -> None:
    print(f"Search: {trials} trials of {epochs} epochs, {repeats} repeats; regret in AUC, median (95 %)")
    found = {}
    for sampler in ("random", "qmc", "tpe"):
        found[sampler] = np.array(
            [search(sampler, "none", trials, epochs, seed)[0] for seed in range(repeats)]
        )
        print(f"  {sampler:<8}{middle(found[sampler])}")
    better = np.mean(found["tpe"] < found["random"])
    ratio = np.median(found["random"]) / np.median(found["tpe"])
    draws = np.random.default_rng(0).integers(0, repeats, (2000, repeats))
    ratios = np.median(found["random"][draws], axis=1) / np.median(found["tpe"][draws], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    print(
        f"  random / tpe: {ratio:.2f} ({low:.2f} to {high:.2f}); tpe is better in {better:.0%} of the repeats"
    )


def compare_pruners(repeats: int, trials: int, epochs: int) -> None:
    print(f"Pruning: tpe, {trials} trials of up to {epochs} epochs, {repeats} repeats; share of epochs saved")
    for pruner in ("none", "median", "third", "halving", "hyperband"):
        outcomes = [search("tpe", pruner, trials, epochs, seed) for seed in range(repeats)]
        saved = np.array([1 - taken / (trials * epochs) for _, taken in outcomes])
        half = 1.96 * saved.std(ddof=1) / np.sqrt(repeats)
        regret = np.array([regret for regret, _ in outcomes])
        print(f"  {pruner:<10}saved {saved.mean():.1%} (+-{half:.1%})   regret {middle(regret)}")


def compare_with_naive_loop(
    data: Path, model: str, given: list[str], trials: int, naive_trials: int, workers: int, keep: bool
) -> None:
    """Trials per hour of the search and of a loop without cache, pruning and low fidelity."""
    from poster_ml.commands.tune import run_tune
    from poster_ml.config import experiment_path, load_experiment, replace
    from poster_ml.data.prepared import PreparedDataset
    from poster_ml.pipeline.fit import fit_model
    from poster_ml.pipeline.tune_options import TuneOptions
    from poster_ml.search_space import load_space, space_path

    config = load_experiment(experiment_path(model), tuple(given))
    space, dataset = load_space(space_path(model)), PreparedDataset.open(data)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    began = time.perf_counter()
    for number in range(naive_trials):
        changes = {**suggest(study.ask(), space), "train.feature_cache": False, "seed": number}
        with tempfile.TemporaryDirectory() as folder:
            fit_model(replace(config, **changes), dataset, folder=Path(folder))
    naive = 3600 * naive_trials / (time.perf_counter() - began)
    print(
        f"  naive loop (full fidelity, no cache, no pruning): {naive:.1f}, from {naive_trials} trials",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        storage = ""
        if not keep:
            os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
            storage = f"{folder}/optuna.db"
        os.environ["POSTER_ML_CACHE"] = f"{folder}/features"
        began = time.perf_counter()
        options = TuneOptions(trials=trials, workers=workers, storage=storage, retrain=False)
        result = run_tune(model=model, options=options, data=data, overrides=given)
        tuned = 3600 * trials / (time.perf_counter() - began)
    print(f"Trials per hour, {model}, {len(dataset.index)} posters (caches empty at the start)")
    print(
        f"  poster-ml tune, {workers} workers: {tuned:.1f}, from {trials} trials "
        f"({result.trials['pruned']} pruned)"
    )
    print(f"  ratio: {tuned / naive:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=40, help="of the surrogate searches; 0: none")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--posters", type=Path, help="a prepared dataset: measures trials per hour as well")
    parser.add_argument("--model", default="mobilenet_v2")
    parser.add_argument(
        "--weights", default="", help="a weights file, or none; default: as in the experiment"
    )
    parser.add_argument("--naive-trials", type=int, default=2)
    parser.add_argument("--set", nargs="*", default=[], help="key=value, for both")
    parser.add_argument("--workers", type=int, default=2, help="of the search")
    parser.add_argument("--keep", action="store_true", help="log the search to this folder's MLflow store")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if options.repeats:
        compare_searches(options.repeats, options.trials, options.epochs)
        compare_pruners(options.repeats, options.trials, options.epochs)
    if options.posters:
        compare_with_naive_loop(
            options.posters,
            options.model,
            [*options.set, *([f"model.weights={options.weights}"] if options.weights else [])],
            options.trials,
            options.naive_trials,
            options.workers,
            options.keep,
        )
