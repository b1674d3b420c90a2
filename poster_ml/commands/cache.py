"""`poster-ml cache`: what frozen features are kept, and how to be rid of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from poster_ml.pipeline.features import feature_cache_folder


@dataclass(frozen=True)
class CacheResult:
    """The entries of the cache, or how much became free."""

    folder: Path
    entries: list[dict[str, object]] = field(default_factory=list)
    freed_megabytes: float = 0.0

    def text(self) -> str:
        """Returns one line per entry, the largest first."""
        if self.freed_megabytes:
            return f"{self.freed_megabytes:.1f} MB freed in {self.folder}"
        lines = [f"{len(self.entries)} entries in {self.folder}"]
        lines += [
            f"{entry['megabytes']:>10.1f} MB  {entry['key']}  {entry['shape']}" for entry in self.entries
        ]
        return "\n".join(lines)


def run_cache(clear: bool = False) -> CacheResult:
    """Lists the cache of frozen features, or removes all of it."""
    from poster_ml.training.features import clear_entries, list_entries

    folder = feature_cache_folder()
    if clear:
        return CacheResult(folder, freed_megabytes=clear_entries(folder))
    entries = [
        {"key": entry.key, "megabytes": entry.megabytes, "shape": entry.about.get("shape", "unfinished")}
        for entry in list_entries(folder)
    ]
    return CacheResult(folder, entries)
