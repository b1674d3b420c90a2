"""Everything a user can do wrong: a kind of `PosterMLError` per subject.

A message says what was received, what is allowed and how to fix it, on one line.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence


class PosterMLError(Exception):
    """Base of all mistakes that the user can fix; the command line turns it into exit code 2."""


class ConfigError(PosterMLError):
    """A configuration with one or more faults, all of them reported at once.

    Args:
        faults: one sentence each, in the order of the file.
        source: where they were found: a file name, or "--set".
    """

    def __init__(self, faults: Sequence[str], source: str = "") -> None:
        """Joins the faults into one line."""
        self.faults = tuple(faults)
        self.source = source
        where = f"{source}: " if source else ""
        super().__init__(where + "; ".join(self.faults))


class TableError(PosterMLError):
    """A table of movies cannot be read as one."""


class DatasetError(PosterMLError):
    """A prepared dataset is missing, broken or unusable for what was asked."""


class DownloadError(PosterMLError):
    """Nothing could be downloaded."""


class OutputError(PosterMLError):
    """A path to write to holds something that is not ours."""


class WeightsError(PosterMLError):
    """Weights that cannot be had or do not fit the network."""


class UnknownFamilyError(PosterMLError):
    """A model family that is not in the catalogue."""


class UnknownLayerError(PosterMLError):
    """A layer name that the network does not have."""


class ExplanationError(PosterMLError):
    """A map or measure that is not defined for the network, or lacks what it needs."""


class EvaluationError(PosterMLError):
    """Predictions that cannot be evaluated."""


class TrackingError(PosterMLError):
    """A run, experiment or store that cannot be used."""


class RegistryError(PosterMLError):
    """A registered model, version or alias that cannot be used."""


class TuningError(PosterMLError):
    """A search space or study that cannot be used."""


class ClusterError(PosterMLError):
    """A Dask scheduler or worker that cannot be used."""


class RequestError(PosterMLError):
    """One image of a request to the service cannot be scored."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Says which allowed name was probably meant.

    Args:
        name: what was received.
        allowed: the right names.

    Returns: " (did you mean 'x'?)", or an empty string where nothing is near or the name is right.
    """
    allowed = list(allowed)
    if name in allowed:
        return ""
    matches = difflib.get_close_matches(name, allowed, n=1, cutoff=0.6)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def one_line(error: Exception, longest: int = 200) -> str:
    """Returns what a library's error says, on one line and cut; its kind where it says nothing."""
    return " ".join(str(error).split())[:longest] or type(error).__name__


# scheme://user:PASSWORD@host, up to the last @ of the word: a password may hold @ and / itself. host:5000/ is
# none.
_IN_ADDRESS = re.compile(r"(\b[a-z][a-z0-9+.\-]*://[^\s/:@'\"]*:)(?!\d{1,5}[/?])[^\s'\"]*@", re.IGNORECASE)
_IN_QUERY = re.compile(r"([?&](?:password|passwd|pwd|sslpassword|token)=)[^\s&'\"]*", re.IGNORECASE)


def mask_passwords(text: str) -> str:
    """Hides the passwords of all URLs in a text, in whatever sentence a library put them.

    Returns: the text with `***` for each password: "postgresql://me:***@host/db".
    """
    return _IN_QUERY.sub(r"\1***", _IN_ADDRESS.sub(r"\1***@", text))


def check_password(url: str) -> str:
    """Returns the URL of a database, refused where its password would be read, and shown, as a host.

    Raises: PosterMLError for an @ in the password.
    """
    if url.partition("://")[2].partition("?")[0].count("@") > 1:
        raise PosterMLError(f"the password in {mask_passwords(url)} has an @: write %40 for it, %2F for /")
    return url
