"""A small service and its logging configuration, to read and to copy from; ``defender-logging demo`` runs them."""
