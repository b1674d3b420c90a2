"""One Keras layer per file."""
