"""What runs do right now: their events read once, for everybody who looks at them."""
