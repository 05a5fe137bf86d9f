//! Matching: candidates, scores, pairing, explanation.

pub mod explanation;
