"""Sends the tasks of a job to the queue, and tells how far they are. Uses the light part of the worker only."""
