"""The pyfunc model and the registry."""
