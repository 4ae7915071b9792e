"""Artifacts for other tools, each checked by its real consumer before it is published."""
