//! Watch to model; every write with preconditions; claims.
