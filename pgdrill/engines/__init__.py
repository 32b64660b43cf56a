"""What keeps PostgreSQL available: the only places that know an operator's words."""
