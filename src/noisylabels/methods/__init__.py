"""Training methods: what a step is, each in a file of its own."""
