"""A day of bursts before an autoscaler: a fluid model, and one event by event around the bursts."""
