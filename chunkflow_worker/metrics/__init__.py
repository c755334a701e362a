"""Subscribers of events: what is told to CloudWatch and to the log."""
