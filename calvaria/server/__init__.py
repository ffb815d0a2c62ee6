"""Running TorchServe: build its archives, start it, wait until it can answer, stop it."""
