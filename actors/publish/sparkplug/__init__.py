"""Sparkplug B: one node at a broker, its devices, and the messages that tell of them. Plain; no I/O."""
