//! Several threads at once.
