"""What the core provides itself, as plugins like any other: the election of a single node, and a static source."""
