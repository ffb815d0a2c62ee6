"""What every test shares."""

from hypothesis import settings

settings.register_profile("calvaria", deadline=None)  # a busy machine is not a failing test
settings.load_profile("calvaria")
