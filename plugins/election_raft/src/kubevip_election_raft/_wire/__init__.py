"""How members speak to each other: frames, connections, and what is said of a process that is dead."""
