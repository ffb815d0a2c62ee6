"""Answering requests: bytes and options in, bytes and a code out, for a whole batch at once. Knows nothing of TorchServe."""
