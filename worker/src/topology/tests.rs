//! Built from apps as users declare them.
