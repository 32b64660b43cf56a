"""What keeps PostgreSQL available: only these modules know labels and paths of an operator."""
