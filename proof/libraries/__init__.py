"""What `library_tests` is made of: which tests, one run of them, and how two runs differ."""
