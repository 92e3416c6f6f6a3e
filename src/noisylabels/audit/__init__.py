"""Which labels of a data set are probably wrong, how many, what they should be, and a page to see them."""
