"""What the command line shows: progress, tables, coloured tokens. Nothing here computes."""
