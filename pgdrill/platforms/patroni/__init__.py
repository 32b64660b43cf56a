"""An existing cluster of Patroni's, by its REST API."""
