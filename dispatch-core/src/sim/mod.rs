//! The virtual-time world around the engine: what judges a log and what measures it.

pub mod auditor;
pub mod metrics;
