"""How any program talks to a running instance: the command line, the demo, benchmarks."""
