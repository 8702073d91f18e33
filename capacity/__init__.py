"""Measured load to replicas, GPUs, network and cost; and whether an autoscaler keeps up with bursts."""
