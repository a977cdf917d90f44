"""What a member must not forget."""
