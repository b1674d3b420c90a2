"""The command line: parse, call one workflow, turn a PosterMLError into exit code 2. No ML here."""


def main() -> None:
    """Runs the command line."""
