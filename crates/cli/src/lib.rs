//! The refloat program.
