//! Runs operations: snapshot, plan, lint, claim and record, effects, events.
