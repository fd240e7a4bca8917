"""A shop for many stores behind usher: whose store a request is for is what `X-Store-Id` says, and nothing else."""
