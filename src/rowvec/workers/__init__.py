"""Syncs as Celery tasks: in the background, on a schedule, on request, and spread over a fleet of workers."""
