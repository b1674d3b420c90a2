"""The page for people who look: drop a poster, see what the model sees, compare designs."""
