"""The code that runs inside the user's functions. Everything that can wait is done later, by `values`."""
