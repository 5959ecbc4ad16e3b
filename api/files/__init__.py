"""Endpoints as files that people keep, edit and load again."""
