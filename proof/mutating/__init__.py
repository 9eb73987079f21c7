"""The parts of `mutants.py`: mutants are made, tests are timed, one mutant is tried, all are counted."""
