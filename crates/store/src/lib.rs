//! The record: operations and their events in SQLite.
