"""The audit of a data set: likely mislabeled examples, the estimated noise rate, suggested labels, a page."""
