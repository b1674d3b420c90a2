"""One file per family; the catalogue is an explicit dict."""
