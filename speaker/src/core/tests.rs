//! What one node announces, as tables.
