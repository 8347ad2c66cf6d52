"""The stations between a log call and a receiver; private, see docs/architecture.md."""
