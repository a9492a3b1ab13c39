//! What project tasks and proofs have in common: telling people, and running other programs.

pub mod output;
pub mod run;
