"""Parts of `benchmarks/peers.py`: who is compared, how each is measured, and what is printed."""
