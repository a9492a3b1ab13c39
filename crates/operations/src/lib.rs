//! Drain: plan and report, lint, step machine, next decision. Pure.
