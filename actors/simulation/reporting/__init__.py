"""What a failed run tells a person."""
