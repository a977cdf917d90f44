"""What members prove to each other: channels, and the keys that they are made of. No socket."""
