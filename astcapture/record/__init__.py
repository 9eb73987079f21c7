"""What runs inside the user's function. Everything that can be done later is done later, by `values`."""
