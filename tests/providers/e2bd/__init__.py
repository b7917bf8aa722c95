"""The parts of tests/providers/e2b_server.py."""
