"""Telling people that their work has ended, failed or stands still."""
