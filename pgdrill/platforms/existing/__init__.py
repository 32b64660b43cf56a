"""What platforms of a user's own cluster share, whatever keeps that available."""
