"""The database: its tables, how it is opened, and how it came to its shape."""
