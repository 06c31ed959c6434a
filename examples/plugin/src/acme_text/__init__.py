"""Job types for text. They are declared in `jobs`, which is imported only where they are switched on."""
