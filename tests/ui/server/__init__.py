"""The real server in a process of its own: started, asked, stopped, and before a real browser."""
