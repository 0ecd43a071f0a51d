"""A call to watch: a caller who really speaks and hears dials a whole app on this machine."""
