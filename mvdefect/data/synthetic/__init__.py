"""Procedurally drawn parts and defects, with exact masks and with faults planted on request."""
