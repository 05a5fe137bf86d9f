//! The lock-free files of the position index, compiled against atomics that can be stopped anywhere, and tests that let a
//! few threads meet on them in thousands of ways.
//!
//! They are the files of `dispatch-core` themselves, by their paths; only `sync` is ours. It makes cells so small that two
//! drivers already spill over into a block.

#[cfg(test)]
#[path = "../../dispatch-core/src/index/cell.rs"]
#[allow(dead_code, reason = "not every step needs a model of its own")]
mod cell;
#[cfg(test)]
#[path = "../../dispatch-core/src/index/record.rs"]
#[allow(dead_code, reason = "not every step needs a model of its own")]
mod record;
#[cfg(test)]
mod sync;
#[cfg(test)]
mod tests;
