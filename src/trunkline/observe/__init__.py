"""Names of logs and metrics, and how logs look."""
