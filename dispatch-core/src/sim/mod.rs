//! Simulation in virtual time: what feeds the engine days of orders without waiting for them.

pub mod mdrp;
