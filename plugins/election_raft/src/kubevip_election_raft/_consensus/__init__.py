"""The protocol without input or output: messages and the time go in, what is to be done comes out."""
