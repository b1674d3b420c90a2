"""Tables, downloads, images, the prepared dataset, splits, duplicates, synthetic posters, exploration."""
