//! The virtual-time world around the engine: what feeds it, what judges a log and what measures it.

pub mod auditor;
pub mod mdrp;
pub mod metrics;
