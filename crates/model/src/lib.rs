//! The nouns: ids, time, compact Kubernetes facts, Snapshot.
