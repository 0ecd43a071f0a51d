"""A telephone voice agent engine that knows no dealership."""
