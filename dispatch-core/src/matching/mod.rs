//! Matching: candidates, score terms, pairing, explanation.

pub(crate) mod candidates;
pub(crate) mod explanation;
pub(crate) mod pairing;
pub(crate) mod plan;
pub(crate) mod reposition;
pub(crate) mod score;
