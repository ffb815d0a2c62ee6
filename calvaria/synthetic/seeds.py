"""Which skulls are for what, by their seeds, so that nothing is ever scored on what it was trained on."""

EVALUATION = range(0, 900_000)
VALIDATION = range(900_000, 1_000_000)
TRAINING = range(1_000_000, 2_000_000)

GENERATOR = 4
"""Version of what seeds mean: raised whenever any seed's skull changes, so that skulls kept on disk are never mistaken."""

CHESTS = 5
"""Version of what seeds of chests and of bodies mean; see GENERATOR."""
