"""Tables, downloads, images, the prepared dataset, splits, duplicates, exploration."""
