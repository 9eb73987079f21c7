"""What `compiled_programs` is made of: the programs that are drawn, and one run of one."""
