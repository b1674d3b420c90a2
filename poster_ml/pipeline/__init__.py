"""What several commands share, in the order in which data meets it."""
