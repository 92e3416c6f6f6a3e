"""Speed benchmarks: ratios to a named baseline in the same process, with their spread over rounds."""
